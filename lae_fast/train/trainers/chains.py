"""The Langevin chains of one batch: where they run, and what their states tell encoder and phi.

One algorithm (T steps of `lae_fast.sampling.ald`), and what differs with who decides:

- `PhiByBatch`: the chain runs on phi, in whitened or plain coordinates, and the batch accepts or
  rejects as a whole. Phi is the one row of the chain.
- `PhiByImage`: the chain runs on the latents, one row per image, and each image decides for itself.
  Phi takes over the displacement through a ridge map.
- `PhiFromDraw`: the same, from a start that is drawn from a Gaussian, in its coordinates.
- `Images`: one row per image, and no phi (Hoffman 2017).

With K = h h^T the Gram matrix of a batch's features, the move of phi that takes the latents from
``z`` to ``z + dz`` at least cost is ``dphi = dz^T K^-1 h``, and ``K^-1/2`` whitens the features. In
the coordinates z the potential is a sum of one term per image, so each image's block of the chain
may be proposed, accepted and rejected on its own: an exact Metropolis-within-Gibbs sweep, whose
step size does not shrink as the batch grows. When h has full row rank this is amortized Langevin
dynamics on phi, and the law of z is the product of the posteriors.

K is damped, ``K + lambda I``, when the chain's displacement is handed to phi. Otherwise the noise
of a batch would be fitted along features that the batch barely determines, and blow up on the next
one. What the damping leaves out, ``z - phi h``, lives as long as the batch. See
docs/concepts/sampler.md.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lae_fast.models.mlp import grad_of
from lae_fast.ranks import Ranks
from lae_fast.sampling import ald
from lae_fast.sampling.whitening import Coordinates, RidgeMap
from lae_fast.train.trainers.gaussian import GaussianDraw
from lae_fast.train.trainers.passes import Evaluation, Evaluator
from lae_fast.train.trainers.states import TOGETHER, make_states


class BatchChains:
    """T steps on one batch. The decoder's gradients at the states go to its parameters.

    Args:
        evaluator: differentiates the decoder.
        x: images, ``(n, d_x)``.
        steps: T.
        start: the chains' first points, ``(rows, d)``.
        first_row: the first row's place in the batch of all ranks.
        prior: weight of the latents' prior in the chains' kernel.
    """

    one_decision = False
    """Whether all images accept or reject together."""

    def __init__(
        self,
        evaluator: Evaluator,
        x: Tensor,
        steps: int,
        start: Tensor,
        *,
        first_row: int = 0,
        prior: float = 1.0,
    ) -> None:
        self.x, self.steps, self.start = x, steps, start
        self.first_row, self.prior = first_row, prior
        self.states = make_states(evaluator, x, steps, one_decision=self.one_decision)

    def run(self, rng: Tensor, eta: float | Tensor, temperature: float, *, mh: bool) -> ald.State:
        """The chains after T steps."""
        values, grad, latents = self.evaluate(self.start)
        chain = ald.begin(
            self.start.clone(),
            values,
            grad,
            rng,
            eta,
            temperature,
            self.first_row,
            prior=self.prior,
            latents=latents,
        )
        self.states.begin()
        self.begun(chain)
        for step in range(self.steps):
            waiting = step % TOGETHER
            values, grad, latents = self.evaluate(chain.proposal)
            ald.advance(
                chain,
                values,
                grad,
                mh=mh,
                latents=latents,
                next_proposal=self.next_proposal(),
                trace=self.trace(waiting),
            )
            self.retained(self.states.retain(chain.accepted))
            if waiting == TOGETHER - 1 or step == self.steps - 1:
                self.add_feature_grads(waiting + 1)
        self.states.close()
        return chain

    def evaluate(self, points: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """The potential, its gradient and the prior's latents, as `ald.advance` takes them."""
        raise NotImplementedError

    def sums(self, chain: ald.State) -> Tensor:
        """Sums over images of V, acceptance probability and acceptance; means over steps."""
        raise NotImplementedError

    def next_proposal(self) -> Tensor | None:
        """Where the next proposals may be written, to save a copy."""
        return None

    def begun(self, chain: ald.State) -> None:
        """Called once the start is evaluated."""

    def trace(self, waiting: int) -> tuple[Tensor | None, Tensor | None]:
        """Where a step's points and gradients are wanted, after so many that wait."""
        return None, None

    def retained(self, state: Evaluation) -> None:
        """Called with what is known of the state after each step."""

    def add_feature_grads(self, waiting: int) -> None:
        """Add the features' gradients of the last so many states."""


class Images(BatchChains):
    """A chain per image: on its latents, or where it starts at a draw, on the standardised ones.

    There ``z = mu + sigma u``, the chain runs on u, and eta is in units of each dimension's own
    variance sigma(x)^2: one step size serves narrow and wide posteriors. Mu and sigma are constant
    while the chain runs, so its law is the posterior as before.

    Args:
        evaluator, x, steps, first_row, prior: as in `BatchChains`.
        start: z at the batch's start, ``(n, d_z)``, or the draw that it comes from.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        x: Tensor,
        steps: int,
        start: Tensor | GaussianDraw,
        *,
        first_row: int = 0,
        prior: float = 1.0,
    ) -> None:
        self.draw = start if isinstance(start, GaussianDraw) else None
        first = start.noise if isinstance(start, GaussianDraw) else start
        super().__init__(evaluator, x, steps, first, first_row=first_row, prior=prior)
        self._grad_z: Tensor | None = None

    def evaluate(self, points: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        if self.draw is None:
            evaluation = self.states.evaluate(points)
            return evaluation.values, evaluation.grad_z, None
        mean, std = self.draw.mean, self.draw.std
        z = torch.addcmul(mean, std, points, out=self.states.next_input())
        evaluation = self.states.evaluate(z)
        self._grad_z = evaluation.grad_z
        if not self.prior:
            return evaluation.values, std * evaluation.grad_z, None
        return evaluation.values, std * torch.add(evaluation.grad_z, z, alpha=self.prior), z

    def next_proposal(self) -> Tensor | None:
        return self.states.next_input() if self.draw is None else None

    def pull_back(self, kl_weight: float | Tensor) -> Tensor:
        """The negative ELBO's gradient at mu and log sigma, ``(n, 2 d_z)``, from `begun` alone."""
        assert self.draw is not None
        assert self._grad_z is not None
        return self.draw.pull_back(self._grad_z, kl_weight)

    def displacement(self, chain: ald.State) -> Tensor:
        """How far the chains have taken z, ``(n, d_z)``."""
        moved = chain.x - self.start
        return moved if self.draw is None else self.draw.std * moved

    def sums(self, chain: ald.State) -> Tensor:
        """Of this rank's images."""
        counted = chain.info.values
        return torch.cat([counted[4:], counted[2:4] * len(self.x)]) / self.steps


class PhiByImage(Images):
    """A chain per image, whose displacement phi takes over.

    Args:
        evaluator, x, steps, start: as in `Images`.
        phi: at the batch's start, ``(d_z, d_h)``.
        ridge: turns moves of z into moves of phi.
        ranks: over which moves of phi are summed.
        images: of all ranks together.
        prior: whether V includes ``||z||^2 / 2``.
        along_chain: whether the features' gradient is that of ``1/T sum_t V_t``, or that of V at
            the start.

    Attributes:
        grad_features: gradient with respect to the features, ``(n, d_h)``: ``1/T sum_t dV_t/dz
            phi_t``, or ``dV_0/dz phi``.
    """

    partial = True
    """Whether `move` and `sums` are of this rank's images, and those of all ranks add up."""

    def __init__(
        self,
        evaluator: Evaluator,
        x: Tensor,
        steps: int,
        phi: Tensor,
        start: Tensor | GaussianDraw,
        ridge: RidgeMap,
        ranks: Ranks,
        images: int,
        *,
        prior: bool,
        along_chain: bool,
    ) -> None:
        first_row = ranks.share(images).start
        super().__init__(evaluator, x, steps, start, first_row=first_row, prior=float(prior))
        self.phi, self.ridge, self.ranks, self.along_chain = phi, ridge, ranks, along_chain
        self.check = ridge.check
        self.grad_features = x.new_zeros(len(x), phi.shape[1])
        if along_chain:
            shape = (min(steps, TOGETHER), *self.start.shape)
            self._points, self._grads = x.new_empty(shape), x.new_empty(shape)

    def begun(self, chain: ald.State) -> None:
        if not self.along_chain:
            torch.mm(chain.grad, self.phi, out=self.grad_features)

    def trace(self, waiting: int) -> tuple[Tensor | None, Tensor | None]:
        return (self._points[waiting], self._grads[waiting]) if self.along_chain else (None, None)

    def add_feature_grads(self, waiting: int) -> None:
        """Add the products of several states at once: one message, and larger products."""
        if not self.along_chain:
            return
        # phi_t = phi + (z_t - z_0)^T ridge, one below the other.
        phis = self.ridge(_beside(self._points[:waiting] - self.start))
        self.ranks.sum_(phis)
        phis.view(waiting, *self.phi.shape).add_(self.phi)
        grads = _beside(self._grads[:waiting])
        self.grad_features.addmm_(grads, phis, alpha=1 / self.steps)

    def move(self, chain: ald.State) -> Tensor:
        """The move of phi."""
        return self.ridge(self.displacement(chain))


class PhiByBatch(BatchChains):
    """One chain on phi, accepted or rejected by the batch as a whole.

    Args:
        evaluator, x, steps: as in `BatchChains`.
        phi: at the batch's start, ``(d_z, d_h)``.
        coordinates: in which the chain runs.
        ranks: over which potential and gradient are summed, so that all take the same decision.
        images: of all ranks together.
        prior: whether V includes ``||z||^2 / 2``.
    """

    partial = False
    one_decision = True

    def __init__(
        self,
        evaluator: Evaluator,
        x: Tensor,
        steps: int,
        phi: Tensor,
        coordinates: Coordinates,
        ranks: Ranks,
        images: int,
        *,
        prior: bool,
    ) -> None:
        self.coordinates, self.ranks = coordinates, ranks
        self.images, self.with_prior = images, prior
        self.check, self.shape = coordinates.check, phi.shape
        start = coordinates.to_chain(phi).view(1, -1)
        # Where several ranks decide together, the prior is in the potential that they sum.
        super().__init__(evaluator, x, steps, start, prior=float(prior and ranks.alone))
        self._grad = torch.zeros_like(coordinates.features)
        self._points = start.new_empty(min(steps, TOGETHER), *start.shape)
        self._grads: list[Tensor] = []

    def evaluate(self, points: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        features = self.coordinates.features
        z = torch.mm(features, points.view(self.shape).T, out=self.states.next_input())
        evaluation = self.states.evaluate(z, prior=self.with_prior)
        values, grad = evaluation.values, evaluation.grad_z.T @ features
        if self.ranks.alone:
            return values, grad.view(1, -1), z if self.with_prior else None
        value = values.sum() + (0.5 * z.double().square().sum() if self.with_prior else 0.0)
        self.ranks.sum_(value, grad)
        return value.reshape(1), grad.view(1, -1), None

    def trace(self, waiting: int) -> tuple[Tensor | None, Tensor | None]:
        return self._points[waiting], None

    def retained(self, state: Evaluation) -> None:
        self._grads.append(state.grad_z)

    def add_feature_grads(self, waiting: int) -> None:
        points = self._points[:waiting].view(-1, self.shape[1])
        self._grad.addmm_(torch.cat(self._grads, 1), points, alpha=1 / self.steps)
        self._grads = []

    @property
    def grad_features(self) -> Tensor:
        """Gradient of ``1/T sum_t V_t`` with respect to this rank's features, ``(n, d_h)``."""
        return self.coordinates.pull_back(self._grad)

    def move(self, chain: ald.State) -> Tensor:
        """The move of phi, the same on every rank."""
        return self.coordinates.to_phi((chain.x - self.start).view(self.shape))

    def sums(self, chain: ald.State) -> Tensor:
        """Of the images of all ranks."""
        counted = chain.info.values
        return torch.cat([counted[4:], counted[2:4] * self.images]) / self.steps


class PhiFromDraw(PhiByImage):
    """A chain per image that starts at a draw from ``N(phi h, sigma(x)^2)``.

    Features, omega and b follow the negative evidence lower bound at the start, reparametrised.
    Phi takes over the chain's displacement; it follows no gradient.

    Args:
        evaluator, x, steps, phi, ridge, ranks, images, prior: as in `PhiByImage`.
        features: h, ``(n, d_h)``.
        spread: omega and b, whose gradients are added to.
        noise: standard normal, ``(n, d_z)``.
        kl_weight: of the KL term in the bound.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        x: Tensor,
        steps: int,
        phi: Tensor,
        ridge: RidgeMap,
        ranks: Ranks,
        images: int,
        *,
        prior: bool,
        features: Tensor,
        spread: nn.Linear,
        noise: Tensor,
        kl_weight: float | Tensor,
    ) -> None:
        code = torch.cat([features @ phi.T, spread(features)], 1)
        self.features, self.spread, self.kl_weight = features, spread, kl_weight
        super().__init__(
            evaluator,
            x,
            steps,
            phi,
            GaussianDraw(code, noise),
            ridge,
            ranks,
            images,
            prior=prior,
            along_chain=False,
        )

    def begun(self, chain: ald.State) -> None:
        by_mean, by_log_std = self.pull_back(self.kl_weight).chunk(2, 1)
        weight, bias = self.spread.weight, self.spread.bias
        torch.mm(by_mean, self.phi, out=self.grad_features).addmm_(by_log_std, weight)
        grad_of(weight).addmm_(by_log_std.T, self.features)
        grad_of(bias).add_(by_log_std.sum(0))


PhiChains = PhiByImage | PhiByBatch


def _beside(steps: Tensor) -> Tensor:
    """Matrices ``(k, n, d)`` side by side, ``(n, k d)``."""
    k, n, d = steps.shape
    return steps.transpose(0, 1).reshape(n, k * d)
