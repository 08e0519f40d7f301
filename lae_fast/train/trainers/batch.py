"""Algorithm 2: T Langevin steps on phi, then one optimiser step on theta and psi.

The optimiser follows the gradient of ``1/T sum_t V_t`` over the T retained states of a batch.
The encoder's features are computed once a batch; its backward runs once, on the accumulated
dV/dh; two decoder passes are alive at any time, so memory does not grow with T.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lae_fast.models.lae import LAE
from lae_fast.ranks import ALONE, Ranks
from lae_fast.sampling import ald
from lae_fast.sampling import rows as langevin
from lae_fast.sampling.whitening import make_coordinates
from lae_fast.train.trainers.base import Learner, figures, sum_grads
from lae_fast.train.trainers.chain_states import TOGETHER, make_passed
from lae_fast.train.trainers.passes import Evaluation, Evaluator

_Result = tuple[Tensor, Tensor, Tensor, Tensor]
"""Where a batch's chain ends; the features' gradient; sums over steps of V, ``(1,)``, and of
acceptance probability and acceptance, ``(2,)``."""


@dataclass
class LAETrainer(Learner):
    """Everything one iteration needs, and the chain state that lives between iterations.

    Attributes:
        model: the LAE; its ``phi`` is the chain's position.
        optimizer: over theta and psi (never phi).
        rng: the chain's generator state, from `lae_fast.sampling.ald.make_rng`.
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
            look = x.device.type == "cpu" if self.look is None else self.look
            run = self._run_chain if look else self._run_chain_unseen
            u, grad_features, potential, accepted = run(
                x, coordinates.features, coordinates.to_chain(self.model.phi)
            )
        self.encoder.backward(coordinates.pull_back(grad_features))
        norm = sum_grads(self.optimizer, self.ranks)
        sums = torch.cat([potential, accepted * images]) / self.steps
        return coordinates.to_phi(u), figures(norm, sums, coordinates.check)

    def _run_chain(self, x: Tensor, features: Tensor, u: Tensor) -> _Result:
        """T steps from ``u``, each decision seen by the host."""
        states = SeenStates(self.evaluator, x, features, self.prior, self.steps, self.ranks)
        chain = ald.init(
            u, states.potential, self.rng, self.step_size, self.temperature, check=False
        )
        states.settle(accepted=True, weight=0)
        for _ in range(self.steps):
            states.settle(ald.step(chain, states.potential, mh=self.mh).accepted)
        states.close()
        potential = states.mean_potential.reshape(1) * self.steps
        return chain.phi, states.grad_features, potential, chain.info.values[2:]

    def _run_chain_unseen(self, x: Tensor, features: Tensor, u: Tensor) -> _Result:
        """`_run_chain` with the decisions left on the device: phi as the one row of a chain.

        Noise and decisions are those of `_run_chain`.
        """
        states = UnseenStates(self.evaluator, x, features, self.prior, self.steps, self.ranks)
        eta = self.new_step_sizes() if self.step_sizes is None else self.step_sizes
        chain = langevin.init(
            u.reshape(1, -1), states.potential, self.rng, eta, self.temperature, check=False
        )
        states.begin(chain)
        for _ in range(self.steps):
            states.step(chain, mh=self.mh)
        states.close()
        counted = chain.info.values
        return chain.x.view_as(u), states.grad_features, counted[4:], counted[2:4]


class SeenStates:
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


class UnseenStates:
    """`SeenStates` for decisions that stay on the device. Arguments are the same."""

    def __init__(
        self,
        evaluator: Evaluator,
        x: Tensor,
        features: Tensor,
        prior: bool,
        steps: int,
        ranks: Ranks = ALONE,
    ) -> None:
        self.features, self.prior, self.ranks = features, prior, ranks
        self.share = 1 / steps
        self.passed = make_passed(evaluator, x, steps)
        self.grad_features = torch.zeros_like(features)
        """Gradient of ``1/T sum_t V_t`` with respect to the features, ``(n, d_h)``."""
        self._together = min(steps, TOGETHER)
        # Phi, and dV/dz, at the states whose products wait.
        self._points = features.new_empty(0)
        self._grads: list[Tensor] = []

    def potential(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """V, ``(1,)``, and its gradient at phi's one row ``u`` ``(1, d_z d_h)``."""
        values, grad, z = self._evaluate(u)
        value = values.sum()
        if z is not None:
            value = value + 0.5 * z.double().square().sum()
        return value.reshape(1), grad

    def _evaluate(self, u: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """The terms of V, its gradient, and the latents whose prior is still to be added."""
        phi = u.view(-1, self.features.shape[1])
        z = torch.mm(self.features, phi.T, out=self.passed.next_input())
        evaluation = self.passed.evaluate(z, prior=self.prior)
        values, grad = evaluation.values, evaluation.grad_z.T @ self.features
        if self.ranks.alone:
            return values, grad.view(1, -1), z if self.prior else None
        # All ranks must take the same decision, from the same sum.
        value = values.sum() + (0.5 * z.double().square().sum() if self.prior else 0.0)
        self.ranks.sum_(value, grad)
        return value.reshape(1), grad.view(1, -1), None

    def begin(self, chain: langevin.State) -> None:
        """The evaluation at the chain's start is the current one."""
        self.passed.begin()
        chain.prior = float(self.prior and self.ranks.alone)
        self._points = chain.x.new_empty(self._together, *chain.x.shape)

    def step(self, chain: langevin.State, *, mh: bool) -> None:
        """A step of the chain; its state counts."""
        values, grad, z = self._evaluate(chain.proposal)
        trace = self._points[len(self._grads)], None
        langevin.advance(chain, values, grad, mh=mh, latents=z, trace=trace)
        self._grads.append(self.passed.retain(chain.accepted).grad_z)
        if len(self._grads) == self._together:
            self._flush()

    def _flush(self) -> None:
        if self._grads:
            points = self._points[: len(self._grads)].view(-1, self.features.shape[1])
            self.grad_features.addmm_(torch.cat(self._grads, 1), points, alpha=self.share)
        self._grads = []

    def close(self) -> None:
        """Add what is left."""
        self._flush()
        self.passed.close()


@dataclass
class _Point:
    u: Tensor
    value: Tensor
    grad_z: Tensor
    evaluation: Evaluation
