"""Trainers of the controls: the VAE, and the autoencoder whose phi never moves."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lae_fast.models.lae import LAE
from lae_fast.models.vae import VAE
from lae_fast.ranks import ALONE, Ranks
from lae_fast.train.iteration import IterationStats, summed_grad_norm


class VAETrainer:
    """Maximises the evidence lower bound, one sample an image.

    Args:
        model: the VAE.
        optimizer: over all its parameters.
        seed: of the samples' noise.
        ranks: the processes that share the batch.
    """

    description = "autograd"

    def __init__(
        self, model: VAE, optimizer: torch.optim.Optimizer, seed: int, ranks: Ranks = ALONE
    ) -> None:
        self.model, self.optimizer, self.ranks = model, optimizer, ranks
        device = next(model.parameters()).device
        self.generator = torch.Generator(device).manual_seed(seed)
        self.step_size = math.nan

    def iteration(self, x: Tensor, images: int | None = None) -> IterationStats:
        """See `Trainer.iteration`; the loss is the negative evidence lower bound."""
        images = len(x) if images is None else images
        noise = shared_noise(x, images, self.model.latent_dim, self.generator, self.ranks)
        nll, kl = self.model.terms(x, noise)
        return _descend(self.optimizer, (nll + kl).sum(), images, self.ranks)


class FrozenTrainer:
    """Minimises the potential at ``z = phi g(x)`` with phi as it was initialised.

    What the published Metropolis-Hastings runs amount to, since they accept nothing.
    """

    description = "autograd"

    def __init__(
        self, model: LAE, optimizer: torch.optim.Optimizer, prior: bool, ranks: Ranks = ALONE
    ) -> None:
        self.model, self.optimizer, self.prior, self.ranks = model, optimizer, prior, ranks
        self.step_size = math.nan

    def iteration(self, x: Tensor, images: int | None = None) -> IterationStats:
        """See `Trainer.iteration`."""
        z = self.model.encode(x)
        value = self.model.likelihood.nll(self.model.decoder(z), x).sum()
        if self.prior:
            value = value + 0.5 * z.square().sum()
        return _descend(self.optimizer, value, len(x) if images is None else images, self.ranks)


def shared_noise(
    x: Tensor, images: int, latents: int, generator: torch.Generator, ranks: Ranks
) -> Tensor:
    """Standard normal noise for this rank's images ``x``: its rows of that of the whole batch."""
    shape = images, latents
    whole = torch.randn(shape, generator=generator, device=x.device, dtype=x.dtype)
    return whole[ranks.share(images)]


def _descend(
    optimizer: torch.optim.Optimizer, value: Tensor, images: int, ranks: Ranks
) -> IterationStats:
    optimizer.zero_grad(set_to_none=False)
    value.backward()  # type: ignore[no-untyped-call]
    total = value.detach().clone()
    norm = summed_grad_norm(optimizer, ranks, total)
    optimizer.step()
    return IterationStats(images, float(total) / images, norm)
