"""Trainers of the controls: the VAE, and the autoencoder whose phi never moves."""

from __future__ import annotations

import torch
from torch import Tensor

from lae_fast.models.lae import LAE
from lae_fast.models.vae import VAE
from lae_fast.ranks import ALONE, Ranks
from lae_fast.train.trainers.base import Learner, pack_stats, standard_normal, sum_grads
from lae_fast.train.trainers.gaussian import GaussianDraw
from lae_fast.train.trainers.passes import Evaluator


class VAETrainer(Learner[VAE]):
    """Maximises the evidence lower bound, one sample per image; the loss is its negative.

    Arguments are those of `Learner`; ``rng`` draws the samples' noise.
    """

    rng: Tensor

    def compute_gradients(self, x: Tensor, images: int) -> tuple[None, Tensor]:
        self.optimizer.zero_grad(set_to_none=False)
        code = self.encoder.features(x)
        with torch.no_grad():
            shape, first_row = (len(x), self.model.latent_dim), self.ranks.share(images).start
            noise = standard_normal(shape, code, self.rng, first_row)
            draw = GaussianDraw(code, noise)
            values, grad_z = self.evaluator.accumulate(x, draw.z)
            bound = values.sum() + draw.kl()
        self.encoder.backward(draw.pull_back(grad_z, self.kl_weight))
        return None, pack_stats(sum_grads(self.optimizer, self.ranks, bound), bound)


class FrozenTrainer(Learner[LAE]):
    """Minimises the potential at ``z = phi g(x)`` with phi as it was initialised.

    What the Metropolis-Hastings runs of Bisht 2023 amount to, since they accept nothing.

    Args:
        model, optimizer, evaluator, ranks: as in `Learner`.
        prior: whether the potential includes ``||z||^2 / 2``.
    """

    def __init__(
        self,
        model: LAE,
        optimizer: torch.optim.Optimizer,
        *,
        prior: bool = True,
        evaluator: Evaluator | None = None,
        ranks: Ranks = ALONE,
    ) -> None:
        super().__init__(model, optimizer, None, evaluator=evaluator, ranks=ranks)
        self.prior = prior

    def compute_gradients(self, x: Tensor, images: int) -> tuple[None, Tensor]:
        self.optimizer.zero_grad(set_to_none=False)
        features = self.encoder.features(x)
        with torch.no_grad():
            z = features @ self.model.phi.T
            values, grad_z = self.evaluator.accumulate(x, z)
            potential = values.sum()
            if self.prior:
                potential = potential + 0.5 * z.square().sum(dtype=torch.float64)
                grad_z = grad_z + z
            grad = grad_z @ self.model.phi
        self.encoder.backward(grad)
        return None, pack_stats(sum_grads(self.optimizer, self.ranks, potential), potential)
