"""From a configuration to an untrained model."""

from __future__ import annotations

import math

import torch
from torch import nn

from lae_fast.config import TrainConfig
from lae_fast.errors import ConfigError
from lae_fast.models import LAE, VAE, Model
from lae_fast.models.conditional import Conditioned
from lae_fast.models.conv import ConvDecoder, ConvEncoder, Shape, stage_shapes
from lae_fast.models.likelihoods import make_likelihood
from lae_fast.models.mlp import MLP
from lae_fast.models.own import Networks, OwnDecoder, OwnEncoder


def build_model(
    config: TrainConfig,
    image_shape: Shape,
    classes: int = 0,
    networks: Networks | None = None,
) -> Model:
    """The untrained model of a configuration; its weights are a function of the seed.

    Args:
        config: the configuration.
        image_shape: channels, height, width.
        classes: number of classes of the data set; a conditional model needs at least two.
        networks: encoder and decoder where the architecture is ``own``; used as they are.

    Raises:
        ConfigError: too few classes, images too small for the networks, or no networks.
    """
    check_networks(config, image_shape, classes, networks)
    classes = classes if config.conditional else 0
    is_vae = config.model in ("vae", "iwae", "hoffman")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        likelihood = make_likelihood(config.likelihood, config.scale)
        encoder: nn.Module
        decoder: nn.Module
        if networks is not None:
            encoder = OwnEncoder(networks.encoder, image_shape)
            decoder = OwnDecoder(networks.decoder)
        else:
            d_out = 2 * config.latent_dim if is_vae else None
            encoder = _encoder(config, image_shape, classes, d_out)
            decoder = _decoder(config, image_shape, classes)
        if is_vae:
            return VAE(encoder, decoder, likelihood, config.latent_dim)
        return LAE(
            encoder,
            decoder,
            likelihood,
            config.hidden,
            config.latent_dim,
            gaussian_start=config.gaussian_start,
        )


def check_networks(
    config: TrainConfig, image_shape: Shape, classes: int, networks: Networks | None = None
) -> None:
    """Raise what `build_model` would raise, without building anything.

    Raises:
        ConfigError: too few classes, images too small for the networks, or no networks.
    """
    if (config.architecture == "own") != (networks is not None):
        raise ConfigError("architecture own is for networks given to lae_fast.fit in Python")
    if networks is not None and config.conditional:
        raise ConfigError("conditional models need the library's networks, which see the label")
    if config.conditional and classes < 2:
        raise ConfigError("--conditional needs a data set with at least two classes")
    if config.architecture == "conv":
        stage_shapes(image_shape)


def _encoder(config: TrainConfig, shape: Shape, classes: int, d_out: int | None) -> nn.Module:
    """Maps ``(n, d_x)`` to ``(n, d_out)``; to features ``(n, hidden)`` if ``d_out`` is None."""
    channels, height, width = shape
    if config.architecture == "conv":
        convolutions = ConvEncoder((channels + classes, height, width), config.hidden, d_out)
        return _conditioned(convolutions, classes, planes=height * width)
    mlp = MLP(math.prod(shape) + classes, config.hidden, d_out, config.depth)
    return _conditioned(mlp, classes)


def _decoder(config: TrainConfig, shape: Shape, classes: int) -> nn.Module:
    """Maps ``(n, d_z)`` to the likelihood's parameters ``(n, d_x)``."""
    d_in = config.latent_dim + classes
    if config.architecture == "conv":
        return _conditioned(ConvDecoder(d_in, config.hidden, shape), classes)
    return _conditioned(MLP(d_in, config.hidden, math.prod(shape), config.depth), classes)


def _conditioned(network: nn.Module, classes: int, planes: int = 1) -> nn.Module:
    return Conditioned(network, classes, planes) if classes else network
