"""What every model has: an encoder, a decoder, a likelihood, and for conditional models labels."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Self

import torch
from torch import Tensor, nn

from lae_fast.data import ImageSet, to_pixels
from lae_fast.models.conditional import Conditioned
from lae_fast.models.likelihoods import Likelihood
from lae_fast.ops.devices import device_of


def gaussian_kl(mean: Tensor, log_std: Tensor) -> Tensor:
    """KL(N(mean, std^2) || N(0, 1)), nats, of every latent: shaped like ``mean``."""
    return 0.5 * (mean.square() + torch.exp(2 * log_std) - 1) - log_std


class Autoencoder(nn.Module, ABC):
    """``p(x | decoder(z))`` with the prior N(0, I) on z, and a Gaussian q(z | x).

    Args:
        encoder: maps images ``(n, d_x)`` to whatever the model turns into q(z | x).
        decoder: maps latents ``(n, d_z)`` to the likelihood's parameters ``(n, d_x)``.
        likelihood: p(x | decoder output).
        latent_dim: d_z.
    """

    def __init__(
        self, encoder: nn.Module, decoder: nn.Module, likelihood: Likelihood, latent_dim: int
    ) -> None:
        super().__init__()
        self.encoder, self.decoder, self.likelihood = encoder, decoder, likelihood
        self.latent_dim = latent_dim

    @abstractmethod
    def code(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log standard deviation of q(z | x), each ``(n, d_z)``."""

    def law(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of q(z | x), each ``(n, d_z)``."""
        mean, log_std = self.code(x)
        return mean, torch.exp(log_std)

    def terms(self, x: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """-log p(x | z) at `draw`'s z, and KL(q || N(0, I)), each ``(n,)``, nats.

        Their sum less `own_entropy` is a one-sample estimate of the negative ELBO.
        """
        mean, log_std = self.code(x)
        z = mean + torch.exp(log_std) * noise
        return self.nll(x, z), gaussian_kl(mean, log_std).sum(1)

    @property
    def own_entropy(self) -> float:
        """What `terms` leaves out of the negative ELBO, nats per image."""
        return 0.0

    def encode(self, x: Tensor) -> Tensor:
        """Mean latents of images ``(n, d_x)``: ``(n, d_z)``."""
        return self.law(x)[0]

    def draw(self, x: Tensor, noise: Tensor) -> Tensor:
        """Latents drawn from q(z | x) with standard normal ``noise``, both ``(n, d_z)``."""
        mean, std = self.law(x)
        return mean + std * noise

    def nll(self, x: Tensor, z: Tensor) -> Tensor:
        """-log p(x | z) of every image, ``(n,)``, nats; differentiable."""
        return self.likelihood.nll(self.decoder(z), x)

    def decode(self, z: Tensor) -> Tensor:
        """Mean images of latents ``(n, d_z)``: ``(n, d_x)``, in [0, 1]."""
        return self.likelihood.mean(self.decoder(z))

    def given(self, labels: Tensor) -> Self:
        """The model for images with these labels, sharing all weights; itself if unconditional.

        Args:
            labels: int64, ``(n,)``. Inputs may have any multiple of n rows; row i then has label
                ``i % n``.
        """
        networks: dict[str, nn.Module | None] = {
            name: network.given(labels)
            for name, network in self.named_children()
            if isinstance(network, Conditioned)
        }
        if not networks:
            return self
        view = copy.copy(self)
        view._modules = self._modules | networks
        return view

    def over(self, images: ImageSet, size: int = 2048) -> Iterator[tuple[Self, Tensor]]:
        """For ``size`` images at a time: the model `given` their labels, and their pixels.

        Pixels are ``(size, d_x)`` in [0, 1], on the device of the model's weights.
        """
        for chunk, labels in images.to(device_of(self)).chunks(size):
            yield self.given(labels), to_pixels(chunk)
