"""Algorithm 2: T Langevin steps on phi, then one optimiser step on theta and psi.

The optimiser follows the gradient of ``1/T sum_t V_t`` over the T retained states of a batch.
The encoder's features are computed once a batch; its backward runs once, on the accumulated
dV/dh; two decoder passes are alive at any time, so memory does not grow with T.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lae_fast import ald
from lae_fast.models.lae import LAE
from lae_fast.ranks import ALONE, Ranks
from lae_fast.train.errors import TrainingError
from lae_fast.train.evaluators import Evaluation, Evaluator, make_encoder, make_evaluator
from lae_fast.train.iteration import REMEDY, IterationStats, summed_grad_norm
from lae_fast.whitening import Coordinates, make_coordinates


@dataclass
class LAETrainer:
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
    evaluator: Evaluator | None = None
    ranks: Ranks = ALONE

    def __post_init__(self) -> None:
        if self.evaluator is None:
            self.evaluator = make_evaluator(self.model.decoder, self.model.likelihood)
        self.encoder = make_encoder(self.model.encoder)

    @property
    def description(self) -> str:
        """How the decoder is differentiated."""
        assert self.evaluator is not None
        return f"{self.evaluator.description}, accept per batch"

    def iteration(self, x: Tensor, images: int | None = None) -> IterationStats:
        """One iteration of Algorithm 2; see `lae_fast.train.iteration.Trainer.iteration`."""
        images = len(x) if images is None else images
        self.optimizer.zero_grad(set_to_none=False)
        features = self.encoder.features(x)
        try:
            coordinates = make_coordinates(features, self.damping, self.ranks)
            with torch.no_grad():
                states, chain = self._run_chain(x, coordinates)
        except ValueError as error:
            raise TrainingError(f"{error}; {REMEDY}") from error
        self.encoder.backward(coordinates.pull_back(states.grad_features))
        grad_norm = summed_grad_norm(self.optimizer, self.ranks)
        self.optimizer.step()
        self.model.phi.copy_(coordinates.to_phi(chain.phi))
        return IterationStats(
            images=images,
            loss=float(states.mean_potential) / images,
            accept_rate=chain.info.accepted_sum / self.steps,
            accept_prob=chain.info.accept_prob_sum / self.steps,
            grad_norm=grad_norm,
        )

    def _run_chain(self, x: Tensor, coordinates: Coordinates) -> tuple[RetainedStates, ald.State]:
        assert self.evaluator is not None
        states = RetainedStates(
            self.evaluator, x, coordinates.features, self.prior, self.steps, self.ranks
        )
        chain = ald.init(
            coordinates.to_chain(self.model.phi), states.potential, self.rng,
            self.step_size, self.temperature,
        )  # fmt: skip
        states.settle(accepted=True, weight=0)
        for _ in range(self.steps):
            states.settle(ald.step(chain, states.potential, mh=self.mh).accepted)
        states.close()
        return states, chain


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
            weight, point = self._weight * self.share, self._current
            self.evaluator.add_weight_grads(point.evaluation, weight)
            self.grad_features.addmm_(point.grad_z, point.u, alpha=weight)
            self.mean_potential.add_(point.value, alpha=weight)
        self._weight = 0

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
