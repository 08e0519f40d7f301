"""Algorithm 2: T Langevin steps on phi, then one optimiser step on theta and psi.

The optimiser follows the gradient of ``1/T sum_t V_t`` over the T retained states of a batch.
The encoder's features are computed once a batch; its backward runs once, on the accumulated
dV/dh; two decoder passes are alive at any time, so memory does not grow with T.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lae_fast import ald, langevin
from lae_fast.models.lae import LAE
from lae_fast.ranks import ALONE, Ranks
from lae_fast.train.evaluators import Evaluation, Evaluator
from lae_fast.train.iteration import Learner, figures, sum_grads
from lae_fast.whitening import make_coordinates


@dataclass
class LAETrainer(Learner):
    """Everything one iteration needs, and the chain state that lives between iterations.

    Attributes:
        model: the LAE; its ``phi`` is the chain's position.
        optimizer: over theta and psi (never phi).
        rng: the chain's generator state, from `lae_fast.ald.make_rng`.
        steps: T.
        step_size: eta on the SUMMED potential; in whitened coordinates when ``damping`` is set.
        mh, temperature, prior: as in `lae_fast.config.TrainConfig`.
        damping: whitening's damping, or None for plain coordinates.
        evaluator: how the decoder is differentiated; chosen by what it is when not given.
        look: whether the host looks at each decision, which spares the weight-gradient products of
            states that no step keeps; where it would have to wait for them, it does not look. When
            not given: on the CPU.
        ranks: the processes that share the batch. They agree on the potential and on phi's
            gradient, so all of them draw the same proposals and take the same decisions.
    """

    model: LAE
    optimizer: torch.optim.Optimizer
    rng: Tensor
    steps: int
    step_size: float
    mh: bool = True
    temperature: float = 1.0
    prior: bool = True
    damping: float | None = None
    evaluator: Evaluator = None  # type: ignore[assignment]
    ranks: Ranks = ALONE
    look: bool | None = None
    step_sizes: Tensor | None = None

    @property
    def description(self) -> str:
        """How the decoder is differentiated."""
        return f"{self.evaluator.description}, accept per batch"

    def new_step_sizes(self) -> Tensor:
        """Eta, float64, for every element of phi."""
        phi = self.model.phi
        size = (phi.numel(),)
        return torch.full(size, self.step_size, dtype=torch.float64, device=phi.device)

    def learn(self, x: Tensor, images: int) -> tuple[Tensor, Tensor]:
        """See `Learner.learn`."""
        self.optimizer.zero_grad(set_to_none=False)
        features = self.encoder.features(x)
        with torch.no_grad():
            coordinates = make_coordinates(features, self.damping, self.ranks)
            states = RetainedStates(
                self.evaluator, x, coordinates.features, self.prior, self.steps, self.ranks
            )
            look = x.device.type == "cpu" if self.look is None else self.look
            run = self._run_chain if look else self._run_chain_unseen
            u, accepted = run(states, coordinates.to_chain(self.model.phi))
            states.close()
        self.encoder.backward(coordinates.pull_back(states.grad_features))
        norm = sum_grads(self.optimizer, self.ranks)
        sums = torch.cat([states.mean_potential.reshape(1), accepted * (images / self.steps)])
        return coordinates.to_phi(u), figures(norm, sums, coordinates.check)

    def _run_chain(self, states: RetainedStates, u: Tensor) -> tuple[Tensor, Tensor]:
        """T steps from ``u``; where they end, and the sums that `ald.Info` ends with."""
        chain = ald.init(
            u, states.potential, self.rng, self.step_size, self.temperature, check=False
        )
        states.settle(accepted=True, weight=0)
        for _ in range(self.steps):
            states.settle(ald.step(chain, states.potential, mh=self.mh).accepted)
        return chain.phi, chain.info.values[2:]

    def _run_chain_unseen(self, states: RetainedStates, u: Tensor) -> tuple[Tensor, Tensor]:
        """`_run_chain` with the decisions left on the device: phi as the one row of a chain.

        Noise and decisions are those of `_run_chain`.
        """

        def potential(row: Tensor) -> tuple[Tensor, Tensor]:
            value, grad = states.potential(row.view_as(u))
            return value.reshape(1), grad.reshape(1, -1)

        eta = self.new_step_sizes() if self.step_sizes is None else self.step_sizes
        chain = langevin.init(
            u.reshape(1, -1), potential, self.rng, eta, self.temperature, check=False
        )
        states.settle(accepted=True, weight=0)
        for _ in range(self.steps):
            langevin.step(chain, potential, mh=self.mh)
            states.select(chain.accepted, chain.x.view_as(u), chain.potential[0])
        return chain.x.view_as(u), chain.info.values[2:]


class RetainedStates:
    """The states a chain keeps on one batch, each weighted by how long it stays.

    `potential` evaluates a proposal and holds on to it; `settle` then says whether it became the
    current state. A state's weight gradients are computed once, when it is left: a rejected
    proposal's never are.

    Args:
        evaluator: differentiates the decoder.
        x: images, ``(n, d_x)``.
        features: the chain's features, ``(n, d_h)``.
        prior: whether V includes ``||z||^2 / 2``.
        steps: T; every retained state counts 1/T.
        ranks: over which potential and gradient are summed.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        x: Tensor,
        features: Tensor,
        prior: bool,
        steps: int,
        ranks: Ranks = ALONE,
    ) -> None:
        self.evaluator, self.x, self.features, self.prior = evaluator, x, features, prior
        self.ranks = ranks
        self.share = 1 / steps
        self.grad_features = torch.zeros_like(features)
        """Gradient of ``1/T sum_t V_t`` with respect to the features, ``(n, d_h)``."""
        self.mean_potential = torch.zeros((), dtype=torch.float64, device=x.device)
        """``1/T sum_t V_t``."""
        self._pending: _Point | None = None
        self._current: _Point | None = None
        self._weight = 0

    def potential(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """V and its gradient at ``u`` ``(d_z, d_h)``."""
        z = self.features @ u.T
        evaluation = self.evaluator.evaluate(self.x, z)
        value, grad_z = evaluation.values.sum(), evaluation.grad_z
        if self.prior:
            value = value + 0.5 * z.square().sum(dtype=torch.float64)
            grad_z = grad_z + z
        grad = grad_z.T @ self.features
        self.ranks.sum_(value, grad)
        # The sampler writes the next proposal over u, so the point keeps its own copy.
        self._pending = _Point(u.clone(), value, grad_z, evaluation)
        return value, grad

    def settle(self, accepted: bool, weight: int = 1) -> None:
        """Move to the pending point if it was accepted; count the current one once more."""
        dropped = self._pending
        if accepted:
            self.flush()
            self._current, dropped = self._pending, self._current
        if dropped is not None:
            self.evaluator.release(dropped.evaluation)
        self._pending = None
        self._weight += weight

    def flush(self) -> None:
        """Add the current point's gradients, weighted by the steps it stayed."""
        if self._current is not None and self._weight:
            self._add(self._current, self._weight * self.share)
        self._weight = 0

    def select(self, accepted: Tensor, u: Tensor, value: Tensor) -> None:
        """`settle` and `flush` for a decision that is left on the device.

        Args:
            accepted: bool ``(1,)``.
            u, value: the selected state and its potential.
        """
        current, pending = self._current, self._pending
        assert current is not None
        assert pending is not None
        moved = accepted.repeat(len(self.x))
        evaluation = self.evaluator.merge(current.evaluation, pending.evaluation, moved)
        grad_z = torch.where(accepted, pending.grad_z, current.grad_z)
        self._current, self._pending = _Point(u, value, grad_z, evaluation), None
        self._add(self._current, self.share)

    def _add(self, point: _Point, weight: float) -> None:
        self.evaluator.add_weight_grads(point.evaluation, weight)
        self.grad_features.addmm_(point.grad_z, point.u, alpha=weight)
        self.mean_potential.add_(point.value, alpha=weight)

    def close(self) -> None:
        """Add what is left and give up the current point."""
        self.flush()
        if self._current is not None:
            self.evaluator.release(self._current.evaluation)
        self._current = None


@dataclass
class _Point:
    u: Tensor
    value: Tensor
    grad_z: Tensor
    evaluation: Evaluation
