"""The encoder and decoder networks that a configuration asks for."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import nn

from lae_fast.config import TrainConfig
from lae_fast.models.conditional import Conditioned
from lae_fast.models.conv import ConvDecoder, ConvEncoder
from lae_fast.models.mlp import MLP


@dataclass(frozen=True)
class Networks:
    """Makes encoder and decoder, fully connected or convolutional, conditional or not.

    Attributes:
        config: ``architecture``, ``hidden``, ``depth``, ``latent_dim``.
        image_shape: channels, height, width.
        classes: of the labels the networks see; 0 for none.
    """

    config: TrainConfig
    image_shape: tuple[int, int, int]
    classes: int = 0

    def encoder(self, d_out: int | None) -> nn.Module:
        """Maps ``(n, d_x)`` to ``(n, d_out)``, or to features ``(n, hidden)`` when None."""
        config, (channels, height, width) = self.config, self.image_shape
        if config.architecture == "conv":
            shape = channels + self.classes, height, width
            return self._conditioned(ConvEncoder(shape, config.hidden, d_out), height * width)
        image_dim = math.prod(self.image_shape) + self.classes
        return self._conditioned(MLP(image_dim, config.hidden, d_out, config.depth))

    def decoder(self) -> nn.Module:
        """Maps ``(n, d_z)`` to the likelihood's parameters ``(n, d_x)``."""
        config, latent_dim = self.config, self.config.latent_dim + self.classes
        if config.architecture == "conv":
            return self._conditioned(ConvDecoder(latent_dim, config.hidden, self.image_shape))
        image_dim = math.prod(self.image_shape)
        return self._conditioned(MLP(latent_dim, config.hidden, image_dim, config.depth))

    def _conditioned(self, network: nn.Module, planes: int = 1) -> nn.Module:
        return Conditioned(network, self.classes, planes) if self.classes else network
