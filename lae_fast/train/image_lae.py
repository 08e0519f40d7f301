"""Algorithm 2 with a decision for every image: whitened Langevin dynamics in data coordinates.

With K = h h^T the Gram matrix of a batch's features, the move of phi that takes the latents from
``z`` to ``z + dz`` at least cost is ``dphi = dz^T K^-1 h``, and ``K^-1/2`` whitens the features. In
the coordinates z the potential is a sum of one term an image, so each image's block of the chain
may be proposed, accepted and rejected on its own: an exact Metropolis-within-Gibbs sweep, whose
step size does not shrink as the batch grows. When h has full row rank this is amortized Langevin
dynamics on phi, and the law of z is the product of the posteriors.

K is damped, ``K + lambda I``, when the chain's displacement is handed to phi: the noise of a batch
would otherwise be fitted along features that it barely determines, and blow up on the next batch.
What the damping leaves out, ``z - phi h``, lives as long as the batch. See docs/sampler.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lae_fast import langevin
from lae_fast.models.lae import LAE
from lae_fast.ranks import ALONE, Ranks
from lae_fast.train.evaluators import Evaluation, Evaluator
from lae_fast.train.iteration import Learner, figures, sum_grads
from lae_fast.whitening import RidgeMap

TOGETHER = 16
"""Steps whose displacements wait for each other."""


@dataclass
class ImageLAETrainer(Learner):
    """Attributes are those of `lae_fast.train.lae.LAETrainer`; ``damping`` is required.

    ``encoder_gradient`` is where the encoder's body is differentiated:

    - ``chain``: at the retained states, the gradient of ``1/T sum_t V_t``. A chain that mixes has
      gradients of mean zero there, so the body learns little of where its posteriors lie.
    - ``start``: at ``z_0 = phi h``, the gradient of ``V_0``, which takes the encoder to the
      posteriors' modes. The decoder still follows the chain.

    Each rank runs the chains of its own images, which need not talk: between ranks go K, once a
    batch, and the moves of phi.
    """

    model: LAE
    optimizer: torch.optim.Optimizer
    rng: Tensor
    steps: int
    step_size: float
    damping: float
    mh: bool = True
    temperature: float = 1.0
    prior: bool = True
    evaluator: Evaluator = None  # type: ignore[assignment]
    ranks: Ranks = ALONE
    encoder_gradient: str = "chain"
    step_sizes: Tensor | None = None

    @property
    def description(self) -> str:
        """How the decoder is differentiated."""
        return f"{self.evaluator.description}, accept per image"

    def new_step_sizes(self) -> Tensor:
        """Eta a dimension, float64 ``(d_z,)``."""
        phi = self.model.phi
        return torch.full(phi.shape[:1], self.step_size, dtype=torch.float64, device=phi.device)

    def learn(self, x: Tensor, images: int) -> tuple[Tensor, Tensor]:
        """See `Learner.learn`."""
        self.optimizer.zero_grad(set_to_none=False)
        features = self.encoder.features(x)
        with torch.no_grad():
            start = features @ self.model.phi.T
            ridge = RidgeMap(features, self.damping, self.ranks, images)
            states, chain = self._run_chain(x, start, ridge, images)
        self.encoder.backward(states.grad_features)
        move = ridge(chain.x - start)
        sums = states.sums(chain)
        norm = sum_grads(self.optimizer, self.ranks, move, sums)
        return self.model.phi + move, figures(norm, sums, check=ridge.check)

    def _run_chain(
        self, x: Tensor, start: Tensor, ridge: RidgeMap, images: int
    ) -> tuple[RetainedImages, langevin.State]:
        states = RetainedImages(
            self.evaluator, x, self.model.phi, start, ridge, self.prior, self.steps, self.ranks,
            self.encoder_gradient,
        )  # fmt: skip
        eta = self.new_step_sizes() if self.step_sizes is None else self.step_sizes
        chain = langevin.init(
            start.clone(), states.potential, self.rng, eta, self.temperature,
            self.ranks.share(images).start, check=False,
        )  # fmt: skip
        states.begin(chain)
        for _ in range(self.steps):
            langevin.step(chain, states.potential, mh=self.mh)
            states.retain(chain)
        states.close()
        return states, chain


class RetainedRows:
    """Accumulates the decoder's gradient of ``1/T sum_t V_t`` over the states that rows pass.

    Args:
        evaluator: differentiates the decoder.
        x: images, ``(n, d_x)``.
        prior: whether V includes ``||z||^2 / 2``.
        steps: T.
    """

    def __init__(self, evaluator: Evaluator, x: Tensor, prior: bool, steps: int) -> None:
        self.evaluator, self.x, self.prior = evaluator, x, prior
        self.share = 1 / steps
        self.mean_potential = torch.zeros((), dtype=torch.float64, device=x.device)
        self._pending: Evaluation | None = None
        self._current: Evaluation | None = None

    def potential(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """V of every image, ``(n,)`` float64, and its gradient, ``(n, d_z)``."""
        self._pending = self.evaluator.evaluate(self.x, z)
        values, grad = self._pending.values, self._pending.grad_z
        if self.prior:
            return values + 0.5 * z.square().sum(1, dtype=torch.float64), grad + z
        return values, grad

    def begin(self, chain: langevin.State) -> None:
        """The evaluation at the chains' start is the current one."""
        self._current, self._pending = self._pending, None

    def retain(self, chain: langevin.State) -> None:
        """Take over the rows that moved, and add the gradients of the state after this step."""
        assert self._current is not None
        assert self._pending is not None
        self._current = self.evaluator.merge(self._current, self._pending, chain.accepted)
        self._pending = None
        self.evaluator.add_weight_grads(self._current, self.share)
        self.mean_potential.add_(chain.potential.sum(), alpha=self.share)

    def close(self) -> None:
        """Give up the current evaluation."""
        assert self._current is not None
        self.evaluator.release(self._current)
        self._current = None

    def sums(self, chain: langevin.State) -> Tensor:
        """Sums over this rank's images of V, acceptance probability and acceptance; ``(3,)``."""
        shares = chain.info.values[2:] * (len(self.x) * self.share)
        return torch.cat([self.mean_potential.reshape(1), shares])


class RetainedImages(RetainedRows):
    """The same for chains on phi, with the gradient of the features.

    Args:
        evaluator, x, prior, steps: as in `RetainedRows`.
        phi: at the batch's start, ``(d_z, d_h)``.
        start: z at the batch's start, ``(n, d_z)``.
        ridge: what turns moves of z into moves of phi.
        ranks: over which moves of phi are summed.
        encoder_gradient: as in `ImageLAETrainer`.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        x: Tensor,
        phi: Tensor,
        start: Tensor,
        ridge: RidgeMap,
        prior: bool,
        steps: int,
        ranks: Ranks = ALONE,
        encoder_gradient: str = "chain",
    ) -> None:
        super().__init__(evaluator, x, prior, steps)
        self.ranks, self.along_chain = ranks, encoder_gradient == "chain"
        self.phi, self.start, self.ridge = phi, start, ridge
        self.grad_features = x.new_zeros(len(x), phi.shape[1])
        """Gradient with respect to the features, ``(n, d_h)``: ``1/T sum_t dV_t/dz phi_t``, or
        that of the start alone."""
        self._grads: list[Tensor] = []
        self._moves: list[Tensor] = []

    def begin(self, chain: langevin.State) -> None:
        """See `RetainedRows.begin`."""
        super().begin(chain)
        if not self.along_chain:
            torch.mm(chain.grad, self.phi, out=self.grad_features)

    def retain(self, chain: langevin.State) -> None:
        """See `RetainedRows.retain`."""
        super().retain(chain)
        if self.along_chain:
            self._grads.append(chain.grad.clone())
            self._moves.append(chain.x - self.start)
            if len(self._moves) == TOGETHER:
                self._flush()

    def close(self) -> None:
        """Add what is left, and give up the current evaluation."""
        self._flush()
        super().close()

    def _flush(self) -> None:
        """Add the products of several steps at once: one message, and larger products."""
        if not self._moves:
            return
        # phi_t = phi + (z_t - z_0)^T ridge, one below the other.
        phis = self.ridge(torch.cat(self._moves, 1))
        self.ranks.sum_(phis)
        phis += self.phi.repeat(len(self._moves), 1)
        self.grad_features.addmm_(torch.cat(self._grads, 1), phis, alpha=self.share)
        self._grads, self._moves = [], []
