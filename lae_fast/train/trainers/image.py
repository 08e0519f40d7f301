"""Algorithm 2 with a decision for every image: whitened Langevin dynamics in data coordinates.

With K = h h^T the Gram matrix of a batch's features, the move of phi that takes the latents from
``z`` to ``z + dz`` at least cost is ``dphi = dz^T K^-1 h``, and ``K^-1/2`` whitens the features. In
the coordinates z the potential is a sum of one term an image, so each image's block of the chain
may be proposed, accepted and rejected on its own: an exact Metropolis-within-Gibbs sweep, whose
step size does not shrink as the batch grows. When h has full row rank this is amortized Langevin
dynamics on phi, and the law of z is the product of the posteriors.

K is damped, ``K + lambda I``, when the chain's displacement is handed to phi: the noise of a batch
would otherwise be fitted along features that it barely determines, and blow up on the next batch.
What the damping leaves out, ``z - phi h``, lives as long as the batch. See
docs/concepts/sampler.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lae_fast.models.lae import LAE
from lae_fast.ranks import ALONE, Ranks
from lae_fast.sampling import rows as langevin
from lae_fast.sampling.whitening import RidgeMap
from lae_fast.train.trainers.base import Learner, figures, sum_grads
from lae_fast.train.trainers.chain_states import TOGETHER, make_passed
from lae_fast.train.trainers.passes import Evaluator


@dataclass
class ImageLAETrainer(Learner):
    """Attributes are those of `lae_fast.train.trainers.batch.LAETrainer`; ``damping`` is required.

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
    ) -> tuple[RowsOfPhi, langevin.State]:
        states = RowsOfPhi(
            self.evaluator, x, self.model.phi, start, ridge, self.steps, self.ranks,
            self.encoder_gradient,
        )  # fmt: skip
        eta = self.new_step_sizes() if self.step_sizes is None else self.step_sizes
        chain = langevin.init(
            start.clone(), states.potential, self.rng, eta, self.temperature,
            self.ranks.share(images).start, prior=float(self.prior), check=False,
        )  # fmt: skip
        states.begin(chain)
        for _ in range(self.steps):
            states.step(chain, mh=self.mh)
        states.close()
        return states, chain


class RowStates:
    """Chains of images, and the decoder's gradients at the states that they pass.

    Args:
        evaluator: differentiates the decoder.
        x: images, ``(n, d_x)``.
        steps: T.
    """

    def __init__(self, evaluator: Evaluator, x: Tensor, steps: int) -> None:
        self.x, self.share = x, 1 / steps
        self.passed = make_passed(evaluator, x, steps)

    def potential(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """-log p(x | z) of every image, ``(n,)`` float64, and its gradient, ``(n, d_z)``."""
        evaluation = self.passed.evaluate(z)
        return evaluation.values, evaluation.grad_z

    def begin(self, chain: langevin.State) -> None:
        """The evaluation at the chains' start is the current one."""
        self.passed.begin()

    def step(self, chain: langevin.State, *, mh: bool) -> None:
        """A step of every image's chain; its state counts."""
        values, grad = self.potential(chain.proposal)
        into = self.passed.next_input()
        langevin.advance(chain, values, grad, mh=mh, next_proposal=into, trace=self.trace())
        self.passed.retain(chain.accepted)

    def trace(self) -> tuple[Tensor | None, Tensor | None]:
        """Where the next point and gradient are to be written too."""
        return None, None

    def close(self) -> None:
        """Add what is left."""
        self.passed.close()

    def sums(self, chain: langevin.State) -> Tensor:
        """Sums over this rank's images of V, acceptance probability and acceptance; ``(3,)``."""
        counted = chain.info.values
        return torch.cat([counted[4:], counted[2:4] * len(self.x)]) * self.share


class RowsOfPhi(RowStates):
    """The same for chains on phi, with the gradient of the features.

    Args:
        evaluator, x, steps: as in `RowStates`.
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
        steps: int,
        ranks: Ranks = ALONE,
        encoder_gradient: str = "chain",
    ) -> None:
        super().__init__(evaluator, x, steps)
        self.ranks, self.along_chain = ranks, encoder_gradient == "chain"
        self.phi, self.start, self.ridge = phi, start, ridge
        self.grad_features = x.new_zeros(len(x), phi.shape[1])
        """Gradient with respect to the features, ``(n, d_h)``: ``1/T sum_t dV_t/dz phi_t``, or
        that of the start alone."""
        if self.along_chain:
            shape = (min(steps, TOGETHER), *start.shape)
            self._points, self._grads = start.new_empty(shape), start.new_empty(shape)
        self._steps = 0  # whose points and gradients wait

    def begin(self, chain: langevin.State) -> None:
        """See `RowStates.begin`."""
        super().begin(chain)
        if not self.along_chain:
            torch.mm(chain.grad, self.phi, out=self.grad_features)

    def trace(self) -> tuple[Tensor | None, Tensor | None]:
        """See `RowStates.trace`."""
        if not self.along_chain:
            return None, None
        return self._points[self._steps], self._grads[self._steps]

    def step(self, chain: langevin.State, *, mh: bool) -> None:
        """See `RowStates.step`."""
        super().step(chain, mh=mh)
        if self.along_chain:
            self._steps += 1
            if self._steps == len(self._points):
                self._flush()

    def close(self) -> None:
        """See `RowStates.close`."""
        self._flush()
        super().close()

    def _flush(self) -> None:
        """Add the products of several steps at once: one message, and larger products."""
        if not self._steps:
            return
        moves = self._points[: self._steps] - self.start
        # phi_t = phi + (z_t - z_0)^T ridge, one below the other.
        phis = self.ridge(_beside(moves))
        self.ranks.sum_(phis)
        phis.view(self._steps, *self.phi.shape).add_(self.phi)
        grads = _beside(self._grads[: self._steps])
        self.grad_features.addmm_(grads, phis, alpha=self.share)
        self._steps = 0


def _beside(steps: Tensor) -> Tensor:
    """Matrices ``(k, n, d)`` side by side, ``(n, k d)``."""
    k, n, d = steps.shape
    return steps.transpose(0, 1).reshape(n, k * d)
