"""What every model is made of: an encoder, a decoder and a likelihood."""

from __future__ import annotations

import copy
from typing import Self

from torch import Tensor, nn

from lae_fast.models.conditional import Conditioned
from lae_fast.models.likelihoods import Likelihood


class Autoencoder(nn.Module):
    """``x ~ p(x | decoder(z))`` with ``z ~ N(0, I)``, and an encoder that finds z.

    Args:
        encoder: maps images ``(n, d_x)`` to what the model makes latents of.
        decoder: maps latents ``(n, d_z)`` to the likelihood's parameters ``(n, d_x)``.
        likelihood: p(x | decoder output).
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module, likelihood: Likelihood) -> None:
        super().__init__()
        self.encoder, self.decoder, self.likelihood = encoder, decoder, likelihood

    def given(self, labels: Tensor) -> Self:
        """The model of images with these labels, sharing all weights; itself if unconditional.

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

    def nll(self, x: Tensor, z: Tensor) -> Tensor:
        """-log p(x | z) of every image, ``(n,)``, nats; differentiable."""
        return self.likelihood.nll(self.decoder(z), x)

    def decode(self, z: Tensor) -> Tensor:
        """Mean images of the latents, ``(n, d_z)`` to ``(n, d_x)``, in [0, 1]."""
        return self.likelihood.mean(self.decoder(z))
