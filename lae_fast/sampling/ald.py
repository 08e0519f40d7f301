"""Amortized Langevin dynamics on one matrix phi, with Metropolis-Hastings (Taniguchi et al. 2022).

The chain targets ``exp(-V(phi) / tau)``. One step with step size ``eta`` is

    phi'  = phi - eta grad V(phi) + sqrt(2 eta tau) eps,     eps ~ N(0, I)
    log a = (V(phi) - V(phi')) / tau
            - ||phi - phi' + eta grad V(phi')||^2 / (4 eta tau) + ||eps||^2 / 2
    phi  <- phi'  when  log u < min(0, log a),  u ~ U(0, 1]

and a proposal whose potential or gradient is not finite is rejected. The state carries the
potential and gradient at phi, so a step costs one evaluation: that of the proposal.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

import lae_fast.ops as ops

Potential = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Maps phi to (V, grad V): a 0-d float64 tensor, and a tensor like phi."""


@dataclass
class Info:
    """What the steps since the last `State.reset_info` did; reading a value waits for the device.

    ``values`` is the kernel's own buffer: ``[log_ratio, accepted, sum of min(1, a), number
    accepted]``; the first two are of the latest step.
    """

    values: Tensor

    @property
    def log_ratio(self) -> float:
        """log a of the latest step; -inf when its proposal was not finite."""
        return float(self.values[0])

    @property
    def accepted(self) -> bool:
        """Whether the latest proposal was taken."""
        return bool(self.values[1])

    @property
    def accept_prob_sum(self) -> float:
        """Sum of min(1, a): what Metropolis-Hastings accepts, or would have accepted."""
        return float(self.values[2])

    @property
    def accepted_sum(self) -> float:
        """Number of proposals taken."""
        return float(self.values[3])


@dataclass
class State:
    """A chain and its pending proposal. `step` changes the tensors in place.

    Attributes:
        phi: the current point, any shape, float32 or float64.
        grad: grad V(phi), like phi.
        potential: V(phi), 0-d float64.
        proposal: the pending phi', drawn from phi with ``step_size``, like phi.
        rng: int64 ``(seed, step)``; the noise is a function of these two and the element.
        step_size: eta, of the pending proposal and of those to come.
        temperature: tau.
        info: statistics; see `Info`.
    """

    phi: Tensor
    grad: Tensor
    potential: Tensor
    proposal: Tensor
    rng: Tensor
    step_size: float
    temperature: float
    info: Info = field(repr=False)

    def reset_info(self) -> None:
        """Start counting acceptance anew."""
        self.info.values.zero_()

    def set_step_size(self, step_size: float) -> None:
        """Change eta, and draw the pending proposal again with it.

        The proposal must come from the step size its acceptance is judged with; drawing it
        again is exact because the old one was never evaluated.
        """
        self.step_size = step_size
        self.proposal, _ = ops.propose(self.phi, self.grad, self.rng, step_size, self.temperature)


def make_rng(seed: int, device: torch.device | str = "cpu", step: int = 0) -> Tensor:
    """The generator's whole state: an int64 tensor ``(seed, step)``, both non-negative."""
    return torch.tensor([seed, step], dtype=torch.int64, device=device)


def init(
    phi: Tensor,
    potential: Potential,
    rng: Tensor,
    step_size: float,
    temperature: float = 1.0,
    *,
    check: bool = True,
) -> State:
    """Evaluate the potential at ``phi`` and draw the first proposal.

    ``phi`` and ``rng`` become the state's own and are changed in place by `step`. ``check`` waits
    for the device; without it, a chain that starts where its gradient is not finite never moves.

    Raises:
        ValueError: the potential or its gradient is not finite at ``phi``.
    """
    value, grad = potential(phi)
    if check and not (bool(torch.isfinite(value)) and bool(torch.isfinite(grad).all())):
        raise ValueError(
            f"the potential ({float(value):g}) or its gradient is not finite at the chain's start"
        )
    proposal, _ = ops.propose(phi, grad, rng, step_size, temperature)
    info = Info(torch.zeros(4, dtype=torch.float64, device=phi.device))
    # The value is cloned because step overwrites it while the caller may keep the original.
    return State(phi, grad, value.clone(), proposal, rng, step_size, temperature, info)


def step(state: State, potential: Potential, *, mh: bool = True) -> Info:
    """Evaluate the pending proposal, accept or reject it, and draw the next one.

    With ``mh=False`` every finite proposal is taken (the unadjusted chain, whose law is off by
    O(eta)); the acceptance that Metropolis-Hastings would have had is still counted.
    """
    value, grad = potential(state.proposal)
    ops.step_(
        state.phi, state.grad, state.potential, state.proposal, grad, value, state.rng,
        state.info.values, state.step_size, state.temperature, mh,
    )  # fmt: skip
    return state.info
