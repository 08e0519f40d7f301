"""The operators of Langevin dynamics, for chains that are the rows of a matrix.

`lae_fast.ops.chains_ref` states what they compute. All take x ``(n, d)``, float32 or float64, on
the CPU or a CUDA device; tensors need not be contiguous. One row is one chain on a whole matrix.
``rng`` is int64 [2] on the same device, (seed, step), both at least 0; potentials are float64.
Wrong shapes, dtypes, devices, or a step size or temperature that is not positive and finite raise
`RuntimeError` from the operator itself. Nothing here is differentiable.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lae_fast.ops import chains_ref
from lae_fast.ops.loader import operator

_propose_rows = operator(
    "ald_propose_rows",
    chains_ref.ald_propose_rows,
    fake=lambda x, *_, **__: torch.empty(x.shape, dtype=x.dtype, device=x.device),
)
_step_rows_ = operator("ald_step_rows_", chains_ref.ald_step_rows_)


def propose_rows(
    x: Tensor,
    grad: Tensor,
    rng: Tensor,
    step_sizes: Tensor,
    temperature: float = 1.0,
    first_row: int = 0,
) -> Tensor:
    """Draw x' = x - eta grad + sqrt(2 eta tau) eps, ``(n, d)`` and contiguous.

    The noise is a function of ``rng``, which is not advanced, and of an element's place.

    Args:
        step_sizes: eta, float64, one per dimension ``(d,)`` or one for all ``(1,)``; positive and
            finite. On CUDA the values are not checked: that would wait for the device.
        temperature: tau.
        first_row: where x is a part of a larger batch, the place of its first row there, a multiple
            of four. The noise is then that of the whole.
    """
    result: Tensor = _propose_rows(x, grad, rng, step_sizes, temperature, first_row)
    return result


def step_rows_(
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
    *,
    prior: float = 0.0,
    latents: Tensor | None = None,
    next_proposal: Tensor | None = None,
    x_trace: Tensor | None = None,
    grad_trace: Tensor | None = None,
) -> None:
    """Accept or reject each row's pending proposal and draw the next, waiting for no device.

    The Metropolis-Hastings log ratio of a row is (V - V') / tau + <x' - x, g + g'> / (2 tau) -
    eta (||g'||^2 - ||g||^2) / (4 tau), each element's terms taken and summed in float64. It is
    minus infinity where V', g' or x' is not finite, and in place of any NaN. A row accepts when
    log u < min(0, log ratio), with u in (0, 1] from the accept stream at ``rng``; without ``mh``,
    when all three are finite. Then (x, grad, potential) hold the selected states, ``rng`` the next
    step, and ``proposal`` the proposals drawn from there.

    Args:
        x, grad, potential: the states, ``(n, d)`` twice and float64 ``(n,)``.
        proposal: drawn from (x, grad) with these step sizes at ``rng``, by `propose_rows` or by the
            step before.
        grad_proposal: the gradient there.
        potential_proposal: float64 ``(n m,)``: each row's potential is the sum of its m terms.
        accepted: bool ``(n,)``, receives the decisions.
        info: float64 [5], receives the mean over rows of min(1, exp(log ratio)) and the share
            accepted, of this step; adds to the running sums of both, and of the potentials after
            each step.
        step_sizes, temperature, first_row: as in `propose_rows`.
        prior: weight of a Gaussian prior, ``prior ||z||^2 / 2``, which is added to the potential of
            the proposals, and where z is x itself to ``grad_proposal`` too.
        latents: z, of x's dtype, as many elements for every row, where it is not x; their part of
            the gradient is the caller's to add.
        next_proposal: receives the next proposals; ``proposal`` does, when not given.
        x_trace, grad_trace: like x; also receive the points and the gradients after the step.
    """
    _step_rows_(
        x,
        grad,
        potential,
        proposal,
        grad_proposal,
        potential_proposal,
        rng,
        accepted,
        info,
        step_sizes,
        temperature,
        mh,
        first_row,
        prior,
        latents,
        next_proposal,
        x_trace,
        grad_trace,
    )
