"""Amortized Langevin dynamics with Metropolis-Hastings (Taniguchi et al. 2022), a chain per row.

Every row x_i targets ``exp(-V_i(x_i) / tau)``. One step, with a step size eta_k per dimension
(constant, so that the proposal's correction stays exact), is

    x'_ik   = x_ik - eta_k dV_i/dx_ik + sqrt(2 eta_k tau) eps_ik,     eps ~ N(0, I)
    log a_i = (V_i - V'_i) / tau + sum_k d_ik (g_ik + g'_ik) / (2 tau)
              - sum_k eta_k (g'_ik^2 - g_ik^2) / (4 tau),              d = x' - x

and row i accepts when ``log u_i < min(0, log a_i)``, ``u_i ~ U(0, 1]``. A row whose proposal,
potential or gradient is not finite stays. The state carries potential and gradient, so a step costs
one evaluation: that of the proposals (Roberts and Tweedie 1996).

Where each image decides for itself, the rows are the images' latents. Where the batch decides as a
whole, phi is the one row: ``phi.view(1, -1)``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

import lae_fast.ops as ops

Potential = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Maps x ``(n, d)`` to V ``(n,)`` float64 and dV_i/dx_i ``(n, d)``."""


@dataclass
class Info:
    """Acceptance, averaged over rows. Reading a value waits for the device.

    ``values`` is the kernel's own buffer, float64 ``(5,)``: mean of min(1, a) and share of rows
    accepted at the latest step, then the sums over the steps so far of both, and of the potentials
    of all rows.
    """

    values: Tensor

    @property
    def accept_prob(self) -> float:
        """Mean over rows of min(1, a) at the latest step."""
        return float(self.values[0])

    @property
    def accept_prob_sum(self) -> float:
        """Sum over the steps so far of the mean of min(1, a)."""
        return float(self.values[2])

    @property
    def accepted_sum(self) -> float:
        """Sum over the steps so far of the share of rows that moved."""
        return float(self.values[3])

    def reset(self) -> None:
        """Start counting anew."""
        self.values.zero_()


@dataclass
class State:
    """The chains and their pending proposals. `step` changes the tensors in place.

    Attributes:
        x: current points, ``(n, d)``, float32 or float64.
        grad: dV_i/dx_i, like x.
        potential: V_i, ``(n,)`` float64.
        proposal: pending points, like x.
        rng: int64 ``(seed, step)``; the noise is a function of these two, the row and the column.
        step_sizes: eta, float64, one per dimension ``(d,)`` or one for all ``(1,)``.
        temperature: tau.
        accepted: which rows moved at the latest step, ``(n,)`` bool.
        info: statistics.
        first_row: the first row's place in a larger batch, a multiple of four; the noise is that
            of the larger batch.
        prior: weight of ``||x||^2 / 2``, which `step` adds to the potential that it is given.
    """

    x: Tensor
    grad: Tensor
    potential: Tensor
    proposal: Tensor
    rng: Tensor
    step_sizes: Tensor
    temperature: float
    accepted: Tensor
    info: Info = field(repr=False)
    first_row: int = 0
    prior: float = 0.0

    def set_step_size(self, step_size: float | Tensor) -> None:
        """Change eta, and draw the pending proposals again with it.

        A proposal must come from the step size its acceptance is judged with. Drawing it again is
        exact, because the old one was never evaluated.
        """
        self.step_sizes = _step_sizes(step_size, self.x)
        self.proposal = ops.propose_rows(
            self.x, self.grad, self.rng, self.step_sizes, self.temperature, self.first_row
        )


def make_rng(seed: int, device: torch.device | str = "cpu", step: int = 0) -> Tensor:
    """The generator's whole state: an int64 tensor ``(seed, step)``, both non-negative."""
    return torch.tensor([seed, step], dtype=torch.int64, device=device)


def init(
    x: Tensor,
    potential: Potential,
    rng: Tensor,
    step_size: float | Tensor,
    temperature: float = 1.0,
    *,
    prior: float = 0.0,
) -> State:
    """Evaluate the potential at ``x`` and draw the first proposals.

    ``x`` and ``rng`` become the state's own and are changed in place by `step`. The chains' target
    is ``potential`` and, with a weight of ``prior``, ``||x||^2 / 2``. ``step_size`` is eta, or a
    float64 tensor with one value per dimension ``(d,)`` or one for all ``(1,)``.

    Raises:
        ValueError: some potential or gradient is not finite at ``x``.
    """
    values, grad = potential(x)
    if not (bool(torch.isfinite(values).all()) and bool(torch.isfinite(grad).all())):
        raise ValueError("the potential or its gradient is not finite at the chains' start")
    return begin(x, values, grad, rng, step_size, temperature, prior=prior)


def begin(
    x: Tensor,
    values: Tensor,
    grad: Tensor,
    rng: Tensor,
    step_size: float | Tensor,
    temperature: float = 1.0,
    first_row: int = 0,
    *,
    prior: float = 0.0,
    latents: Tensor | None = None,
) -> State:
    """`init` at points whose potential was evaluated; nothing here waits for the device.

    A row that starts where its potential is not finite never moves.

    Args:
        values, grad: of the potential at ``x``; where ``values`` has several terms per row, they
            are added up.
        latents: what the prior is on, if not on ``x``: as many elements per row. Their part of
            ``grad`` is the caller's to add.
    """
    potential = _terms(values, x).sum(1)
    if prior:
        z = x if latents is None else latents
        potential = potential + prior / 2 * _terms(z.double().square(), x).sum(1)
    # Cloned where nothing was added: step overwrites it, and the caller may keep the original.
    grad = grad + prior * x if prior and latents is None else grad.clone()
    sizes = _step_sizes(step_size, x)
    proposal = ops.propose_rows(x, grad, rng, sizes, temperature, first_row)
    accepted = torch.zeros(len(x), dtype=torch.bool, device=x.device)
    info = Info(torch.zeros(5, dtype=torch.float64, device=x.device))
    return State(
        x, grad, potential, proposal, rng, sizes, temperature, accepted, info, first_row, prior
    )


def step(state: State, potential: Potential, *, mh: bool = True) -> Info:
    """Evaluate the pending proposals, accept or reject each row, and draw the next ones.

    With ``mh=False`` every finite row moves (the unadjusted chain, whose law is off by O(eta)); the
    acceptance that it would have had is still counted.
    """
    return advance(state, *potential(state.proposal), mh=mh)


def advance(
    state: State,
    values: Tensor,
    grad: Tensor,
    *,
    mh: bool = True,
    latents: Tensor | None = None,
    next_proposal: Tensor | None = None,
    trace: tuple[Tensor | None, Tensor | None] = (None, None),
) -> Info:
    """`step` for proposals that were evaluated: one launch for all of it on CUDA.

    Args:
        values, grad: of the potential at ``state.proposal``, as in `begin`.
        latents: as in `begin`, of the proposals.
        next_proposal: where the next proposals are to lie.
        trace: also receive the points and the gradients after the step.
    """
    ops.step_rows_(
        state.x,
        state.grad,
        state.potential,
        state.proposal,
        grad,
        values,
        state.rng,
        state.accepted,
        state.info.values,
        state.step_sizes,
        state.temperature,
        mh,
        state.first_row,
        prior=state.prior,
        latents=latents,
        next_proposal=next_proposal,
        x_trace=trace[0],
        grad_trace=trace[1],
    )
    if next_proposal is not None:
        state.proposal = next_proposal
    return state.info


def _terms(values: Tensor, x: Tensor) -> Tensor:
    """The terms of each row of x, ``(n, m)``; a rank may have no rows."""
    return values.view(len(x), values.numel() // max(1, len(x)))


def _step_sizes(step_size: float | Tensor, x: Tensor) -> Tensor:
    if isinstance(step_size, Tensor):
        return step_size
    return torch.full((1,), step_size, dtype=torch.float64, device=x.device)
