"""Inputs for the operators' tests: evaluated proposals of any shape, dtype, layout, device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from lae_fast import ops
from lae_fast.ops import chains_ref

DTYPES = (torch.float32, torch.float64)
LAYOUTS = ("contiguous", "transposed", "sliced", "offset")
# Around what the kernels treat differently: a block of four, a tile, a chunk, threads, GPU blocks.
SIZES = (0, 1, 3, 4, 5, 255, 257, 4095, 4097, 16384, 16385, 32767, 32769, 70001)

shapes = st.one_of(
    st.tuples(st.integers(0, 40), st.integers(0, 20)), st.tuples(st.just(1), st.integers(0, 5000))
)
dtypes = st.sampled_from(DTYPES)
layouts = st.sampled_from(LAYOUTS)
seeds = st.integers(0, 2**63 - 1)
steps = st.integers(0, 2**62)
step_sizes = st.floats(1e-6, 1.0)
temperatures = st.floats(1e-3, 10.0)


def lay_out(values: Tensor, layout: str) -> Tensor:
    """The same values in a tensor of the given memory layout."""
    if layout == "transposed" and values.dim() >= 2:
        return values.transpose(0, -1).contiguous().transpose(0, -1)
    if layout == "sliced" and values.dim() >= 1:
        wide = values.new_full((*values.shape[:-1], 2 * values.shape[-1]), float("nan"))
        view = wide[..., ::2]
        view.copy_(values)
        return view
    if layout == "offset":
        long = values.new_full((values.numel() + 3,), float("nan"))
        view = long[3:].view(values.shape)
        view.copy_(values)
        return view
    return values.clone()


def rng_of(seed: int, step: int, device: str = "cpu") -> Tensor:
    return torch.tensor([seed, step], dtype=torch.int64, device=device)


@dataclass
class Rows:
    """The arguments of `ald_step_rows_` up to `step_sizes`, in order."""

    x: Tensor
    grad: Tensor
    potential: Tensor
    proposal: Tensor
    grad_proposal: Tensor
    potential_proposal: Tensor
    rng: Tensor
    accepted: Tensor
    info: Tensor
    step_sizes: Tensor

    def tensors(self) -> tuple[Tensor, ...]:
        return tuple(getattr(self, name) for name in self.__dataclass_fields__)

    def clone(self) -> Rows:
        return Rows(*(t.clone() for t in self.tensors()))

    def evaluated(self) -> tuple[Tensor, ...]:
        """The states and their proposals: what the log ratio is a function of, but step sizes."""
        return self.tensors()[:6]

    def drift(self) -> tuple[Tensor, ...]:
        """The arguments of `ald_propose_rows`."""
        return self.x, self.grad, self.rng, self.step_sizes


def make_rows(
    shape: tuple[int, int],
    dtype: torch.dtype,
    *,
    device: str = "cpu",
    layout: str = "contiguous",
    seed: int = 0,
    step: int = 0,
    one_step_size: bool = False,
) -> Rows:
    """Chains near their proposals, so that log ratios are of order one."""
    n, d = shape
    generator = torch.Generator().manual_seed(seed % 2**31)

    def draw(*size: int, dtype: torch.dtype = torch.float64) -> Tensor:
        return torch.randn(size, generator=generator, dtype=dtype)

    x, grad = draw(n, d, dtype=dtype), draw(n, d, dtype=dtype)
    proposal = x + 0.1 * draw(n, d, dtype=dtype)
    grad_proposal = grad + 0.1 * draw(n, d, dtype=dtype)
    potential = 3 + draw(n)
    change = draw(n)
    etas = 0.01 * (1 + torch.rand(1 if one_step_size else d, generator=generator).double())
    values = (x, grad, potential, proposal, grad_proposal, potential + change, etas)
    laid_out = [lay_out(t.to(device), layout) for t in values]
    return Rows(
        *laid_out[:6],
        rng_of(seed, step, device),
        torch.zeros(n, dtype=torch.bool, device=device),
        torch.tensor([9.0, 9.0, 1.5, 2.0, 7.0], dtype=torch.float64, device=device),
        laid_out[6],
    )


Extras = dict[str, Any]


def make_extras(rows: Rows, terms: int, on_latents: bool, layout: str) -> tuple[Rows, Extras]:
    """Every optional argument: a prior, potentials in several terms, outputs of their own."""
    n = len(rows.x)
    generator = torch.Generator().manual_seed(n)
    parts = torch.randn(n * terms, generator=generator, dtype=torch.float64) / terms
    z = torch.randn(n, 3 * terms, generator=generator, dtype=torch.float64)
    outputs = [lay_out(torch.full_like(rows.x, 5.0), layout) for _ in range(3)]
    rows.potential_proposal = lay_out(parts.to(rows.x.device), layout)
    latents = lay_out(z.to(rows.x), layout) if on_latents else None
    names = ("next_proposal", "x_trace", "grad_trace")
    return rows, {"prior": 0.7, "latents": latents} | dict(zip(names, outputs, strict=True))


def largest(values: Tensor) -> float:
    """Largest absolute value; 0 of nothing."""
    return float(values.abs().max()) if values.numel() else 0.0


def check_step(rows: Rows, temperature: float = 1.0, mh: bool = True) -> Tensor:
    """Compare a step with the reference; return the decisions."""
    plain, before = rows.clone(), rows.clone()
    ops.step_rows_(*rows.tensors(), temperature, mh)
    chains_ref.ald_step_rows_(*plain.tensors(), temperature, mh)
    # Deciding, selecting, counting and what is only read are exact.
    for name in set(Rows.__dataclass_fields__) - {"proposal", "info"}:
        assert torch.equal(getattr(rows, name), getattr(plain, name)), name
    torch.testing.assert_close(rows.info, plain.info, rtol=1e-11, atol=1e-11)
    moved = rows.accepted
    sources = {"x": "proposal", "grad": "grad_proposal", "potential": "potential_proposal"}
    for name, source in sources.items():
        now = getattr(rows, name)
        assert torch.equal(now[moved], getattr(before, source)[moved]), name
        assert torch.equal(now[~moved], getattr(before, name)[~moved]), name
    # The next proposals are `propose_rows` of the new states, to the last bits.
    proposal = ops.propose_rows(*rows.drift(), temperature)
    eps = torch.finfo(rows.x.dtype).eps
    assert largest(rows.proposal - proposal) <= 2 * eps * largest(proposal)
    return moved
