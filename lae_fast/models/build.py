"""From a configuration to a model."""

from __future__ import annotations

import torch

from lae_fast.config import TrainConfig
from lae_fast.errors import ConfigError
from lae_fast.models import VAE, Model
from lae_fast.models.conv import stage_shapes
from lae_fast.models.lae import LAE
from lae_fast.models.likelihoods import make_likelihood
from lae_fast.models.networks import Networks


def build_model(config: TrainConfig, image_shape: tuple[int, int, int], classes: int = 0) -> Model:
    """The untrained model of a configuration; its weights are a function of the seed.

    Args:
        config: the configuration.
        image_shape: channels, height, width.
        classes: number of classes, for a conditional model.

    Raises:
        ConfigError: networks that cannot be built for such images, or labels that are not there.
    """
    check_networks(config, image_shape, classes)
    networks = Networks(config, image_shape, classes if config.conditional else 0)
    is_vae = config.model in ("vae", "hoffman")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        likelihood = make_likelihood(config.likelihood, config.scale)
        encoder = networks.encoder(2 * config.latent_dim if is_vae else None)
        decoder = networks.decoder()
        if is_vae:
            return VAE(encoder, decoder, likelihood, config.latent_dim)
        return LAE(encoder, decoder, likelihood, config.hidden, config.latent_dim)


def check_networks(config: TrainConfig, image_shape: tuple[int, int, int], classes: int) -> None:
    """Refuse, at no cost, what `build_model` would refuse.

    Raises:
        ConfigError: networks that cannot be built for such images, or labels that are not there.
    """
    if config.conditional and classes < 2:
        raise ConfigError("--conditional needs a data set with at least two classes")
    if config.architecture == "conv":
        stage_shapes(image_shape)
