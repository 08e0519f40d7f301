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

from lae_fast import langevin
from lae_fast.models.vae import VAE
from lae_fast.ranks import ALONE, Ranks
from lae_fast.train.controls import shared_noise
from lae_fast.train.iteration import IterationStats, summed_grad_norm


@dataclass
class HoffmanTrainer:
    """Attributes are those of `lae_fast.train.lae.LAETrainer`; ``seed`` is of the starts."""

    model: VAE
    optimizer: torch.optim.Optimizer
    rng: Tensor
    steps: int
    step_size: float
    mh: bool = True
    temperature: float = 1.0
    seed: int = 0
    ranks: Ranks = ALONE

    description = "autograd, a chain an image"

    def __post_init__(self) -> None:
        self.generator = torch.Generator(self.rng.device).manual_seed(self.seed)

    def iteration(self, x: Tensor, images: int | None = None) -> IterationStats:
        """See `lae_fast.train.iteration.Trainer.iteration`; the loss is the chains' potential."""
        images = len(x) if images is None else images
        self.optimizer.zero_grad(set_to_none=True)
        start = self._encoder_gradient(x, images)
        sums = self._decoder_gradient(x, start, self.ranks.share(images).start)
        grad_norm = summed_grad_norm(self.optimizer, self.ranks, sums)
        self.optimizer.step()
        loss, accept_prob, accept_rate = (sums / images).tolist()
        return IterationStats(images, loss, grad_norm, accept_rate, accept_prob)

    def _encoder_gradient(self, x: Tensor, images: int) -> Tensor:
        """Leave the bound's gradient on the encoder; a draw from its Gaussian, ``(n, d_z)``."""
        noise = shared_noise(x, images, self.model.latent_dim, self.generator, self.ranks)
        encoder = list(self.model.encoder.parameters())
        bound = torch.stack([term.sum() for term in self.model.terms(x, noise)]).sum()
        for parameter, grad in zip(encoder, torch.autograd.grad(bound, encoder), strict=True):
            parameter.grad = grad
        with torch.no_grad():
            return self.model.draw(x, noise)

    def _decoder_gradient(self, x: Tensor, z: Tensor, first_row: int) -> Tensor:
        """Run the chains, leaving the decoder's gradient.

        Returns:
            Sums over this rank's images of the mean potential, acceptance probability and
            acceptances, ``(3,)``.
        """
        model = self.model

        def nll(point: Tensor) -> Tensor:
            return model.likelihood.nll(model.decoder(point), x)

        def potential(point: Tensor) -> tuple[Tensor, Tensor]:
            point = point.detach().requires_grad_()
            with torch.enable_grad():
                values = nll(point).double() + 0.5 * point.square().sum(1, dtype=torch.float64)
            (grad,) = torch.autograd.grad(values.sum(), point)
            return values.detach(), grad

        sizes = torch.full(z.shape[1:], self.step_size, dtype=torch.float64, device=z.device)
        chain = langevin.init(
            z, potential, self.rng, sizes, self.temperature, first_row, check=False
        )
        weights = [*model.decoder.parameters(), *model.likelihood.parameters()]
        total = torch.zeros((), dtype=torch.float64, device=z.device)
        for _ in range(self.steps):
            langevin.step(chain, potential, mh=self.mh)
            value = nll(chain.x.clone()).sum() / self.steps
            for parameter, grad in zip(weights, torch.autograd.grad(value, weights), strict=True):
                parameter.grad = grad if parameter.grad is None else parameter.grad + grad
            total += chain.potential.sum()
        return torch.cat([total.reshape(1), chain.info.values[2:] * len(x)]) / self.steps
