"""Trainers of the controls: the VAE, and the autoencoder whose phi never moves."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lae_fast.models.lae import LAE
from lae_fast.models.vae import VAE
from lae_fast.train.iteration import IterationStats, checked_grad_norm


class VAETrainer:
    """Maximises the evidence lower bound, one sample an image.

    Args:
        model: the VAE.
        optimizer: over all its parameters.
        seed: of the samples' noise.
    """

    description = "autograd"

    def __init__(self, model: VAE, optimizer: torch.optim.Optimizer, seed: int) -> None:
        self.model, self.optimizer = model, optimizer
        device = next(model.parameters()).device
        self.generator = torch.Generator(device).manual_seed(seed)
        self.step_size = math.nan

    def iteration(self, x: Tensor) -> IterationStats:
        """See `Trainer.iteration`; the loss is the negative evidence lower bound."""
        shape = len(x), self.model.latent_dim
        noise = torch.randn(shape, generator=self.generator, device=x.device, dtype=x.dtype)
        nll, kl = self.model.terms(x, noise)
        return _descend(self.optimizer, (nll + kl).sum(), len(x))


class FrozenTrainer:
    """Minimises the potential at ``z = phi g(x)`` with phi as it was initialised.

    What the published Metropolis-Hastings runs amount to, since they accept nothing.
    """

    description = "autograd"

    def __init__(self, model: LAE, optimizer: torch.optim.Optimizer, prior: bool) -> None:
        self.model, self.optimizer, self.prior = model, optimizer, prior
        self.step_size = math.nan

    def iteration(self, x: Tensor) -> IterationStats:
        """See `Trainer.iteration`."""
        z = self.model.encode(x)
        value = self.model.likelihood.nll(self.model.decoder(z), x).sum()
        if self.prior:
            value = value + 0.5 * z.square().sum()
        return _descend(self.optimizer, value, len(x))


def _descend(optimizer: torch.optim.Optimizer, value: Tensor, images: int) -> IterationStats:
    optimizer.zero_grad(set_to_none=False)
    value.backward()  # type: ignore[no-untyped-call]
    norm = checked_grad_norm(optimizer)
    optimizer.step()
    return IterationStats(images, float(value.detach()) / images, norm)
