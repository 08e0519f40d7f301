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
from lae_fast.train.errors import TrainingError
from lae_fast.train.iteration import REMEDY, IterationStats, checked_grad_norm


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

    description = "autograd, a chain an image"

    def __post_init__(self) -> None:
        self.generator = torch.Generator(self.rng.device).manual_seed(self.seed)

    def iteration(self, x: Tensor) -> IterationStats:
        """See `lae_fast.train.iteration.Trainer.iteration`; the loss is the chains' potential."""
        self.optimizer.zero_grad(set_to_none=True)
        start = self._encoder_gradient(x)
        try:
            potential, chain = self._decoder_gradient(x, start)
        except ValueError as error:
            raise TrainingError(f"{error}; {REMEDY}") from error
        grad_norm = checked_grad_norm(self.optimizer)
        self.optimizer.step()
        return IterationStats(
            images=len(x),
            loss=potential / len(x),
            grad_norm=grad_norm,
            accept_rate=chain.info.accepted_sum / self.steps,
            accept_prob=chain.info.accept_prob_sum / self.steps,
        )

    def _encoder_gradient(self, x: Tensor) -> Tensor:
        """Leave the bound's gradient on the encoder; a draw from its Gaussian, ``(n, d_z)``."""
        shape = len(x), self.model.latent_dim
        noise = torch.randn(shape, generator=self.generator, device=x.device, dtype=x.dtype)
        encoder = list(self.model.encoder.parameters())
        bound = torch.stack([term.sum() for term in self.model.terms(x, noise)]).sum()
        for parameter, grad in zip(encoder, torch.autograd.grad(bound, encoder), strict=True):
            parameter.grad = grad
        with torch.no_grad():
            return self.model.draw(x, noise)

    def _decoder_gradient(self, x: Tensor, z: Tensor) -> tuple[float, langevin.State]:
        """Run the chains, leaving the decoder's gradient; the mean summed potential over them."""
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
        chain = langevin.init(z, potential, self.rng, sizes, self.temperature)
        weights = [*model.decoder.parameters(), *model.likelihood.parameters()]
        total = 0.0
        for _ in range(self.steps):
            langevin.step(chain, potential, mh=self.mh)
            value = nll(chain.x.clone()).sum() / self.steps
            for parameter, grad in zip(weights, torch.autograd.grad(value, weights), strict=True):
                parameter.grad = grad if parameter.grad is None else parameter.grad + grad
            total += float(chain.potential.sum()) / self.steps
        return total, chain
