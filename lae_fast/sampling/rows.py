"""Metropolis-adjusted Langevin chains, one a row, each with its own accept/reject.

Every row x_i has its own target ``exp(-V_i(x_i) / tau)``. One step, with a step size eta_k for
each dimension (constant, so the proposal's correction stays exact), is

    x'_ik   = x_ik - eta_k dV_i/dx_ik + sqrt(2 eta_k tau) eps_ik,     eps ~ N(0, I)
    log a_i = (V_i - V'_i) / tau + sum_k d_ik (g_ik + g'_ik) / (2 tau)
              - sum_k eta_k (g'_ik^2 - g_ik^2) / (4 tau),              d = x' - x

and row i accepts when ``log u_i < min(0, log a_i)``. A row whose proposal, potential or gradient
is not finite stays. Source: Roberts and Tweedie 1996; the log-ratio as in `lae_fast.sampling.ald`,
row by row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

import lae_fast.ops as ops

RowPotential = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Maps x ``(n, d)`` to V ``(n,)`` float64 and dV_i/dx_i ``(n, d)``."""


@dataclass
class Info:
    """Acceptance, averaged over rows; reading a value waits for the device.

    ``values`` is the kernel's own buffer: mean of min(1, a) and share accepted at the latest step,
    then the sums since the start of both, and of the potentials after each step.
    """

    values: Tensor

    @property
    def accept_prob(self) -> float:
        """Mean over rows of min(1, a) at the latest step."""
        return float(self.values[0])

    @property
    def accept_prob_sum(self) -> float:
        """Sum of it over the steps so far."""
        return float(self.values[2])

    @property
    def accepted_sum(self) -> float:
        """Sum over the steps so far of the share of rows that moved."""
        return float(self.values[3])

    @classmethod
    def start(cls, device: torch.device | str) -> Info:
        """Nothing counted yet."""
        return cls(torch.zeros(5, dtype=torch.float64, device=device))


@dataclass
class State:
    """The chains and their pending proposals. `step` changes the tensors in place.

    Attributes:
        x: current points, ``(n, d)``, float32 or float64.
        grad: dV_i/dx_i, like x.
        potential: V_i, ``(n,)`` float64.
        proposal: pending points, like x.
        rng: int64 ``(seed, step)``.
        step_sizes: eta, ``(d,)`` float64.
        temperature: tau.
        accepted: which rows moved at the latest step, ``(n,)`` bool.
        info: statistics.
        first_row: the first row's place in a larger batch, a multiple of four: the noise is that
            of the whole.
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

    def set_step_sizes(self, step_sizes: Tensor) -> None:
        """Change eta, and draw the pending proposals again with it."""
        self.step_sizes = step_sizes
        self.proposal = ops.propose_rows(
            self.x, self.grad, self.rng, step_sizes, self.temperature, self.first_row
        )


def init(
    x: Tensor,
    potential: RowPotential,
    rng: Tensor,
    step_sizes: Tensor,
    temperature: float = 1.0,
    first_row: int = 0,
    *,
    prior: float = 0.0,
    check: bool = True,
) -> State:
    """Evaluate the potential at ``x`` and draw the first proposals.

    ``x`` and ``rng`` become the state's own and are changed in place by `step`. The chain's target
    is ``potential`` and, with a weight of ``prior``, ``||x||^2 / 2``. ``check`` waits for the
    device; without it, a row that starts where its potential is not finite never moves.

    Raises:
        ValueError: some potential or gradient is not finite at ``x``.
    """
    values, grad = potential(x)
    if prior:
        values = values + prior / 2 * x.double().square().sum(1)
        grad = grad + prior * x
    if check and not (bool(torch.isfinite(values).all()) and bool(torch.isfinite(grad).all())):
        raise ValueError("the potential or its gradient is not finite at the chains' start")
    proposal = ops.propose_rows(x, grad, rng, step_sizes, temperature, first_row)
    accepted = torch.zeros(len(x), dtype=torch.bool, device=x.device)
    # Cloned because step overwrites them while the caller may keep the originals.
    return State(
        x, grad.clone(), values.clone(), proposal, rng, step_sizes, temperature, accepted,
        Info.start(x.device), first_row, prior,
    )  # fmt: skip


def step(state: State, potential: RowPotential, *, mh: bool = True) -> Info:
    """Evaluate the pending proposals, accept or reject each row, and draw the next ones.

    With ``mh=False`` every finite row moves; the acceptance it would have had is still counted.
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
        values, grad: of the potential at ``state.proposal``; where ``values`` has several terms
            for each row, they are added up.
        latents: what the prior is on, if not on the proposals; see `lae_fast.ops.step_rows_`.
        next_proposal: where the next proposals are to lie.
        trace: also receive the points and the gradients after the step.
    """
    ops.step_rows_(
        state.x, state.grad, state.potential, state.proposal, grad, values, state.rng,
        state.accepted, state.info.values, state.step_sizes, state.temperature, mh,
        state.first_row, prior=state.prior, latents=latents, next_proposal=next_proposal,
        x_trace=trace[0], grad_trace=trace[1],
    )  # fmt: skip
    if next_proposal is not None:
        state.proposal = next_proposal
    return state.info
