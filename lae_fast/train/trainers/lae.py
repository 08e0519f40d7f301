"""Algorithm 2 (Taniguchi et al. 2022): T Langevin steps on phi, then a step of the optimiser.

The optimiser moves theta and psi along the gradient of ``1/T sum_t V_t`` over the T states of a
batch. The encoder's features are computed once per batch; its backward runs once, on the
accumulated dV/dh. Memory does not grow with T.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lae_fast.models.lae import LAE
from lae_fast.ranks import ALONE, Ranks
from lae_fast.sampling.whitening import RidgeMap, make_coordinates
from lae_fast.train.trainers.base import Learner, pack_stats, standard_normal, sum_grads
from lae_fast.train.trainers.chains import PhiByBatch, PhiByImage, PhiChains, PhiFromDraw
from lae_fast.train.trainers.passes import Evaluator


class LAETrainer(Learner[LAE]):
    """Trains a Langevin autoencoder; the model's ``phi`` is the chain's position.

    Args:
        model, optimizer, rng, evaluator, ranks: as in `Learner`.
        steps: T.
        step_size: eta on the SUMMED potential. Its units are the start's variances where the model
            has a Gaussian start; else the latents' where ``accept`` is ``image`` or ``damping`` is
            set, and those of phi where not.
        damping: of the map from latents to phi; None, for ``batch`` alone, leaves phi's own
            coordinates.
        accept: who decides on a proposal, each ``image`` or the ``batch`` as a whole.
        mh, temperature, prior: as in `lae_fast.config.TrainConfig`.
        encoder_gradient: where the encoder's body is differentiated (``image`` alone, and only
            where the model has no Gaussian start):

            - ``chain``: at the retained states, the gradient of ``1/T sum_t V_t``. A chain that
              mixes has gradients of mean zero there, so the body learns little of where its
              posteriors lie.
            - ``start``: at ``z_0 = phi h``, the gradient of ``V_0``, which takes the encoder to the
              posteriors' modes. The decoder still follows the chain.

    Ranks: where images decide, each rank runs the chains of its own images, which need not talk;
    K, once per batch, and the moves of phi go between ranks. Where the batch decides, the ranks sum
    potential and gradient at every step, so all of them take the same decisions.
    """

    rng: Tensor

    def __init__(
        self,
        model: LAE,
        optimizer: torch.optim.Optimizer,
        rng: Tensor,
        steps: int,
        step_size: float,
        damping: float | None = None,
        *,
        accept: str = "image",
        mh: bool = True,
        temperature: float = 1.0,
        prior: bool = True,
        encoder_gradient: str = "chain",
        evaluator: Evaluator | None = None,
        ranks: Ranks = ALONE,
    ) -> None:
        if accept == "image" and damping is None:
            raise ValueError("a decision per image needs a damping")
        if accept == "batch" and model.spread is not None:
            raise ValueError("a Gaussian start needs a decision per image")
        super().__init__(model, optimizer, rng, step_size, evaluator=evaluator, ranks=ranks)
        self.steps, self.damping, self.accept = steps, damping, accept
        self.mh, self.temperature, self.prior = mh, temperature, prior
        self.encoder_gradient = encoder_gradient

    @property
    def description(self) -> str:
        return f"{self.evaluator.description}, accept per {self.accept}"

    def compute_gradients(self, x: Tensor, images: int) -> tuple[Tensor, Tensor]:
        self.optimizer.zero_grad(set_to_none=False)
        features = self.encoder.features(x)
        with torch.no_grad():
            chains = self._chains(x, features, images)
            end = chains.run(self.rng, self.step_size, self.temperature, mh=self.mh)
            self.encoder.backward(chains.grad_features)
            move, sums = chains.move(end), chains.sums(end)
            norm = sum_grads(self.optimizer, self.ranks, *((move, sums) if chains.partial else ()))
            return self.model.phi + move, pack_stats(norm, sums, chains.check)

    def _chains(self, x: Tensor, features: Tensor, images: int) -> PhiChains:
        phi, prior = self.model.phi, self.prior
        parts = (self.evaluator, x, self.steps, phi)
        if self.accept == "batch":
            coordinates = make_coordinates(features, self.damping, self.ranks)
            return PhiByBatch(*parts, coordinates, self.ranks, images, prior=prior)
        assert self.damping is not None
        ridge = RidgeMap(features, self.damping, self.ranks, images)
        spread = self.model.spread
        if spread is not None:
            first_row = self.ranks.share(images).start
            return PhiFromDraw(
                *parts,
                ridge,
                self.ranks,
                images,
                prior=prior,
                features=features,
                spread=spread,
                noise=standard_normal((len(x), len(phi)), x, self.rng, first_row),
                kl_weight=self.kl_weight,
            )
        start = features @ phi.T
        along_chain = self.encoder_gradient == "chain"
        return PhiByImage(
            *parts, start, ridge, self.ranks, images, prior=prior, along_chain=along_chain
        )
