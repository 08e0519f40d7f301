"""The operators' specification in plain PyTorch.

Every operator of `lae_fast.ops` has its reference here, written from the formulas and nothing
else. It runs on any device; it is what the kernels are tested against, and what runs where a GPU
meets a build without CUDA kernels.

One step of amortized Langevin dynamics with step size eta and temperature tau
(Taniguchi, Iwasawa, Kumagai and Matsuo, "Langevin Autoencoders for Learning Deep Latent Variable
Models", NeurIPS 2022, Algorithm 1)::

    x'    = x - eta g + sqrt(2 eta tau) eps
    log a = (V - V') / tau + <x' - x, g + g'> / (2 tau) - eta (||g'||^2 - ||g||^2) / (4 tau)

which is the Metropolis-Hastings ratio with the reverse mean at x' (g' is the gradient there).
Multiplied out like this it is the textbook's ``(V - V') / tau - ||x - x' + eta g'||^2 /
(4 eta tau) + ||eps||^2 / 2``, but that form subtracts two numbers of size N / 2 and takes the
rounded x' for the exact one, a bias of about N ulp(x)^2 / eta. A chain is a row of x.

Noise comes from Philox4x32-10 (Salmon, Moraes, Dror and Shaw, SC 2011) and depends on (seed, step,
element) alone. The key is the seed; the counter is (block, step) with block = element // 4 in
row-major order, and the top bit of its last word tells noise (0) from the accept uniform (1).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

_WORD = 0xFFFFFFFF
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
NOISE, ACCEPT = 0, 1


def _multiply(factor: int, word: Tensor) -> tuple[Tensor, Tensor]:
    """High and low 32 bits of a 32-bit product; int64 has no room for all 64 bits at once."""
    low_part = (factor & 0xFFFF) * word
    high_part = (factor >> 16) * word + (low_part >> 16)
    return high_part >> 16, ((high_part & 0xFFFF) << 16) | (low_part & 0xFFFF)


def philox4x32_10(
    counter: Sequence[Tensor | int], key: Sequence[Tensor | int]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Four 32-bit words for each counter.

    ``counter`` is four and ``key`` two integers or int64 tensors of words in [0, 2^32) that
    broadcast together; so are the results.
    """
    c0, c1, c2, c3 = (torch.as_tensor(word, dtype=torch.int64) for word in counter)
    k0, k1 = (torch.as_tensor(word, dtype=torch.int64) for word in key)
    for _ in range(10):
        high0, low0 = _multiply(_MULTIPLIERS[0], c0)
        high1, low1 = _multiply(_MULTIPLIERS[1], c2)
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0, k1 = (k0 + _WEYL[0]) & _WORD, (k1 + _WEYL[1]) & _WORD
    return c0, c1, c2, c3


def words(rng: Tensor, blocks: Tensor, stream: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The generator's words for int64 ``blocks`` at ``rng`` (int64 [2]: seed, step)."""
    seed, step = rng.unbind()
    high = (step >> 32 & 0x7FFFFFFF) | (stream << 31)
    counter = (blocks & _WORD, blocks >> 32 & _WORD, step & _WORD, high)
    return philox4x32_10(counter, (seed & _WORD, seed >> 32 & _WORD))


def _normal_pair(radius: Tensor, angle: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Box-Muller from two tensors of words.

    u = (radius + 1/2) 2^-32, and the angle is 2 pi (angle + 1/2) 2^-32.
    """
    # Above 1/2 the logarithm is taken of 1 - (1 - u): the complement of the word is exact.
    upper = radius >= 1 << 31
    small = torch.where(upper, _WORD - radius, radius).to(dtype) * 2.0**-32 + 2.0**-33
    log = torch.where(upper, torch.log1p(-small), torch.log(small))
    r = torch.sqrt(-2 * log)
    quadrant = (angle + (1 << 29)) >> 30 & 3
    rest = ((angle + (1 << 29)) & ((1 << 30) - 1)) - (1 << 29)
    t = (2 * rest + 1).to(dtype) * (math.pi * 2.0**-32)
    c, s = torch.cos(t), torch.sin(t)
    odd = quadrant % 2 == 1
    cosine = torch.where(odd, s, c) * torch.where((quadrant + 1) & 2 > 0, -1, 1)
    sine = torch.where(odd, c, s) * torch.where(quadrant & 2 > 0, -1, 1)
    return r * cosine, r * sine


def normal(
    shape: Sequence[int],
    rng: Tensor,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
    first_block: int = 0,
) -> Tensor:
    """Standard normal noise of ``shape`` at ``rng`` (int64 [2]: seed, step).

    The definition is the same in float32 and float64; only its evaluation is as exact as ``dtype``.
    ``device`` defaults to that of ``rng``. Four elements share one of the generator's blocks;
    ``first_block`` is that of the first four.
    """
    rng = rng.to(device) if device is not None else rng
    count = math.prod(shape)
    blocks = _blocks(count, first_block, rng)
    w0, w1, w2, w3 = words(rng, blocks, NOISE)
    pairs = (*_normal_pair(w0, w1, dtype), *_normal_pair(w2, w3, dtype))
    return torch.stack(pairs, dim=-1).flatten()[:count].reshape(tuple(shape))


def uniform(rng: Tensor) -> Tensor:
    """The uniform in (0, 1] that decides a single row at ``rng``; float64 []."""
    return uniforms(1, rng)[0]


def _blocks(count: int, first: int, rng: Tensor) -> Tensor:
    """The blocks that ``count`` words of a stream take."""
    return torch.arange(first, first + (count + 3) // 4, dtype=torch.int64, device=rng.device)


def uniforms(count: int, rng: Tensor, first_row: int = 0) -> Tensor:
    """The uniforms in (0, 1] that decide ``count`` rows at ``rng``; float64 ``(count,)``.

    Row i takes word i % 4 of block i // 4.
    """
    blocks = _blocks(count, first_row // 4, rng)
    drawn = torch.stack(words(rng, blocks, ACCEPT), dim=-1).flatten()[:count]
    return (drawn.double() + 1) * 2.0**-32


def log_ratios(
    x: Tensor,
    grad: Tensor,
    potential: Tensor,
    proposal: Tensor,
    grad_proposal: Tensor,
    potential_proposal: Tensor,
    step_sizes: Tensor,
    temperature: float = 1.0,
) -> Tensor:
    """The Metropolis-Hastings log ratio of each row, float64 ``(n,)``.

    Minus infinity where a row's proposal, its gradient or its potential is not finite, and in place
    of any NaN.
    """
    g0, g1 = grad.double(), grad_proposal.double()
    work = ((proposal.double() - x.double()) * (g0 + g1)).sum(1)
    grad_change = (step_sizes * (g1 - g0) * (g1 + g0)).sum(1)
    ratio = (
        (potential - potential_proposal) / temperature
        + work / (2 * temperature)
        - grad_change / (4 * temperature)
    )
    usable = _finite(proposal, grad_proposal, potential_proposal) & ~ratio.isnan()
    return torch.where(usable, ratio, -math.inf)


def _finite(proposal: Tensor, grad: Tensor, potential: Tensor) -> Tensor:
    """Which rows' proposals are finite, with their gradients and potentials."""
    return proposal.isfinite().all(1) & grad.isfinite().all(1) & potential.isfinite()


def ald_propose_rows(
    x: Tensor,
    grad: Tensor,
    rng: Tensor,
    step_sizes: Tensor,
    temperature: float = 1.0,
    first_row: int = 0,
) -> Tensor:
    """The proposals of all rows, ``(n, d)``: what `lae_fast.ops.propose_rows` returns."""
    _check("ald_propose_rows", x, {"grad": grad}, {}, step_sizes, temperature, first_row)
    eps = normal(x.shape, rng, x.dtype, first_block=first_row // 4 * x.shape[1])
    scale = torch.sqrt(2 * step_sizes * temperature).to(x.dtype)
    return x - step_sizes.to(x.dtype) * grad + scale * eps


def ald_step_rows_(
    x: Tensor,
    grad: Tensor,
    potential: Tensor,
    proposal: Tensor,
    grad_proposal: Tensor,
    potential_proposal: Tensor,
    rng: Tensor,
    accepted: Tensor,
    info: Tensor,
    step_sizes: Tensor,
    temperature: float = 1.0,
    mh: bool = True,
    first_row: int = 0,
    prior: float = 0.0,
    latents: Tensor | None = None,
    next_proposal: Tensor | None = None,
    x_trace: Tensor | None = None,
    grad_trace: Tensor | None = None,
) -> None:
    """Decide, move and propose each row in place: what `lae_fast.ops.step_rows_` does."""
    outputs = {"next_proposal": next_proposal, "x_trace": x_trace, "grad_trace": grad_trace}
    like_x = {"grad": grad, "proposal": proposal, "grad_proposal": grad_proposal}
    like_x |= {name: tensor for name, tensor in outputs.items() if tensor is not None}
    potential_proposal = _shares(potential_proposal, len(x)).sum(1)
    potentials = {"potential": potential, "potential_proposal": potential_proposal}
    _check("ald_step_rows_", x, like_x, potentials, step_sizes, temperature, first_row)
    if prior:
        z = proposal if latents is None else _shares(latents, len(x))
        potential_proposal = potential_proposal + prior / 2 * z.double().square().sum(1)
        if latents is None:
            grad_proposal = grad_proposal + prior * proposal
    evaluated = (x, grad, potential, proposal, grad_proposal, potential_proposal)
    log_accept = log_ratios(*evaluated, step_sizes, temperature).clamp(max=0)
    if mh:
        log_u = uniforms(len(x), rng, first_row).log()
        accepted.copy_(log_u < log_accept)
    else:
        accepted.copy_(_finite(proposal, grad_proposal, potential_proposal))
    row = accepted.unsqueeze(1)
    x.copy_(torch.where(row, proposal, x))
    grad.copy_(torch.where(row, grad_proposal, grad))
    potential.copy_(torch.where(accepted, potential_proposal, potential))
    rng[1] += 1
    target = proposal if next_proposal is None else next_proposal
    target.copy_(ald_propose_rows(x, grad, rng, step_sizes, temperature, first_row))
    for trace, value in ((x_trace, x), (grad_trace, grad)):
        if trace is not None:
            trace.copy_(value)
    rows = max(1, len(x))
    info[0] = log_accept.exp().sum() / rows
    info[1] = accepted.double().sum() / rows
    info[2] += info[0]
    info[3] += info[1]
    info[4] += potential.sum()


def _shares(values: Tensor, rows: int) -> Tensor:
    """As many values for every row, ``(rows, m)``."""
    return values.reshape(rows, values.numel() // max(1, rows))


def _check(
    op: str,
    x: Tensor,
    like_x: dict[str, Tensor],
    potentials: dict[str, Tensor],
    step_sizes: Tensor,
    temperature: float,
    first_row: int,
) -> None:
    """Refuse what the kernels refuse; broadcasting would hide the mistakes."""
    if x.dtype not in (torch.float32, torch.float64):
        raise RuntimeError(f"{op}: x has dtype {x.dtype}; it must be float32 or float64.")
    if x.dim() != 2:
        raise RuntimeError(f"{op}: x has shape {list(x.shape)}; it must be (rows, dimensions).")
    for name, tensor in like_x.items():
        for what in ("shape", "dtype", "device"):
            mine, wanted = getattr(tensor, what), getattr(x, what)
            if mine != wanted:
                raise RuntimeError(
                    f"{op}: {name} has {what} {mine} but x has {what} {wanted}; they must be equal."
                )
    vectors = {name: (tensor, x.shape[0]) for name, tensor in potentials.items()}
    vectors["step_sizes"] = step_sizes, 1 if step_sizes.shape == (1,) else x.shape[1]
    for name, (tensor, length) in vectors.items():
        if tensor.shape != (length,) or tensor.dtype != torch.float64:
            raise RuntimeError(
                f"{op}: {name} is {tensor.dtype} of shape {list(tensor.shape)}; "
                f"it must be float64 of shape [{length}]."
            )
    if not (temperature > 0 and math.isfinite(temperature)):
        raise RuntimeError(f"{op}: temperature must be positive and finite, not {temperature}.")
    if first_row < 0 or first_row % 4:
        raise RuntimeError(
            f"{op}: first_row must be a multiple of four, 0 or more, not {first_row}."
        )
