"""Langevin from an encoder's Gaussian, one chain a data point (Hoffman 2017): the baseline.

The encoder is trained as a VAE's, by the evidence lower bound with the decoder as it is. The
decoder follows ``1/T sum_t -log p(x | z_t)`` over T Langevin steps of every image's own chain,
which starts at a draw from the encoder's Gaussian and is forgotten after the batch. Nothing is
amortized but the start.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lae_fast.models.vae import VAE
from lae_fast.ranks import ALONE, Ranks
from lae_fast.sampling import rows as langevin
from lae_fast.train.trainers.base import Learner, figures, standard_normal, sum_grads
from lae_fast.train.trainers.controls import GaussianDraw
from lae_fast.train.trainers.image import RowStates
from lae_fast.train.trainers.passes import Evaluator


@dataclass
class HoffmanTrainer(Learner):
    """Attributes are those of `lae_fast.train.trainers.batch.LAETrainer`."""

    model: VAE
    optimizer: torch.optim.Optimizer
    rng: Tensor
    steps: int
    step_size: float
    mh: bool = True
    temperature: float = 1.0
    evaluator: Evaluator = None  # type: ignore[assignment]
    ranks: Ranks = ALONE
    step_sizes: Tensor | None = None

    @property
    def description(self) -> str:
        """How the decoder is differentiated."""
        return f"{self.evaluator.description}, a chain an image"

    def new_step_sizes(self) -> Tensor:
        """Eta a dimension, float64 ``(d_z,)``."""
        shape, device = (self.model.latent_dim,), self.rng.device
        return torch.full(shape, self.step_size, dtype=torch.float64, device=device)

    def learn(self, x: Tensor, images: int) -> tuple[None, Tensor]:
        """See `Learner.learn`; the loss is the chains' potential."""
        self.optimizer.zero_grad(set_to_none=False)
        code = self.encoder.features(x)
        first_row = self.ranks.share(images).start
        with torch.no_grad():
            shape = len(x), self.model.latent_dim
            draw = GaussianDraw(code, standard_normal(shape, code, self.rng, first_row))
            states = RowStates(self.evaluator, x, self.steps)
            eta = self.new_step_sizes() if self.step_sizes is None else self.step_sizes
            chain = langevin.init(
                draw.z.clone(), states.potential, self.rng, eta, self.temperature, first_row,
                prior=1.0, check=False,
            )  # fmt: skip
            # The chains start where the bound is taken; its gradient leaves the prior to the KL.
            by_code = draw.pull_back(chain.grad - draw.z)
            states.begin(chain)
            for _ in range(self.steps):
                states.step(chain, mh=self.mh)
            states.close()
        self.encoder.backward(by_code)
        sums = states.sums(chain)
        return None, figures(sum_grads(self.optimizer, self.ranks, sums), sums)
