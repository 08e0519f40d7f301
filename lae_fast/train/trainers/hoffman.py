"""Langevin from an encoder's Gaussian, one chain per data point (Hoffman 2017): the baseline.

The encoder is trained as a VAE's, by the evidence lower bound with the decoder as it is. The
decoder follows ``1/T sum_t -log p(x | z_t)`` over T Langevin steps of every image's own chain,
which starts at a draw from the encoder's Gaussian and is forgotten after the batch. Nothing is
amortized but the start.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lae_fast.models.vae import VAE
from lae_fast.ranks import ALONE, Ranks
from lae_fast.sampling import ald
from lae_fast.train.trainers.base import Learner, pack_stats, standard_normal, sum_grads
from lae_fast.train.trainers.chains import Images
from lae_fast.train.trainers.gaussian import GaussianDraw
from lae_fast.train.trainers.passes import Evaluator


class HoffmanTrainer(Learner[VAE]):
    """Trains a VAE's networks with a chain per image; the loss is the chains' potential.

    Args:
        model, optimizer, rng, evaluator, ranks: as in `Learner`.
        steps, mh, temperature: as in `lae_fast.train.trainers.lae.LAETrainer`.
        step_size: eta, in units of the variances of the encoder's Gaussian.
    """

    rng: Tensor

    def __init__(
        self,
        model: VAE,
        optimizer: torch.optim.Optimizer,
        rng: Tensor,
        steps: int,
        step_size: float,
        *,
        mh: bool = True,
        temperature: float = 1.0,
        evaluator: Evaluator | None = None,
        ranks: Ranks = ALONE,
    ) -> None:
        super().__init__(model, optimizer, rng, step_size, evaluator=evaluator, ranks=ranks)
        self.steps, self.mh, self.temperature = steps, mh, temperature

    @property
    def description(self) -> str:
        return f"{self.evaluator.description}, a chain per image"

    def compute_gradients(self, x: Tensor, images: int) -> tuple[None, Tensor]:
        self.optimizer.zero_grad(set_to_none=False)
        code = self.encoder.features(x)
        first_row = self.ranks.share(images).start
        with torch.no_grad():
            shape = len(x), self.model.latent_dim
            draw = GaussianDraw(code, standard_normal(shape, code, self.rng, first_row))
            chains = FromDraw(self.evaluator, x, self.steps, draw, first_row, self.kl_weight)
            end = chains.run(self.rng, self.step_size, self.temperature, mh=self.mh)
            self.encoder.backward(chains.grad_code)
            sums = chains.sums(end)
            return None, pack_stats(sum_grads(self.optimizer, self.ranks, sums), sums)


class FromDraw(Images):
    """Chains that start at a draw from the encoder's Gaussian.

    Args:
        evaluator, x, steps, first_row: as in `BatchChains`.
        draw: where the chains start.
        kl_weight: of the KL term in the encoder's bound.

    Attributes:
        grad_code: the negative evidence lower bound's gradient at the encoder's output.
    """

    grad_code: Tensor

    def __init__(
        self,
        evaluator: Evaluator,
        x: Tensor,
        steps: int,
        draw: GaussianDraw,
        first_row: int,
        kl_weight: float | Tensor,
    ) -> None:
        super().__init__(evaluator, x, steps, draw, first_row=first_row)
        self.kl_weight = kl_weight

    def begun(self, chain: ald.State) -> None:
        self.grad_code = self.pull_back(self.kl_weight)
