"""From a configuration to a model and its trainer."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lae_fast.config import ConfigError, TrainConfig
from lae_fast.models import VAE, Model
from lae_fast.models.conv import stage_shapes
from lae_fast.models.lae import LAE
from lae_fast.models.likelihoods import make_likelihood
from lae_fast.models.networks import Networks
from lae_fast.ranks import ALONE, Ranks
from lae_fast.sampling import ald
from lae_fast.train.controls import FrozenTrainer, VAETrainer
from lae_fast.train.evaluators import Evaluator, make_evaluator
from lae_fast.train.graph import GraphedTrainer
from lae_fast.train.hoffman import HoffmanTrainer
from lae_fast.train.image_lae import ImageLAETrainer
from lae_fast.train.iteration import Learner, Trainer
from lae_fast.train.lae import LAETrainer


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


def build_trainer(
    config: TrainConfig, model: Model, step_size: float, ranks: Ranks = ALONE
) -> Trainer:
    """The trainer of a configuration, with Adam over everything but phi.

    Raises:
        ConfigError: a precision that the networks do not offer.
    """
    # On CUDA the rate is read on the device, so that a captured iteration can follow a schedule.
    on_cuda = next(model.parameters()).is_cuda
    rate = torch.tensor(config.learning_rate, device="cuda") if on_cuda else config.learning_rate
    optimizer = torch.optim.Adam(model.parameters(), lr=rate, fused=True, capturable=on_cuda)
    rng = ald.make_rng(config.seed, next(model.parameters()).device)
    precision = config.precision if config.has_chain else "float32"  # it is of the chain's drift
    try:
        evaluator = make_evaluator(model.decoder, model.likelihood, precision)
    except ValueError as error:
        raise ConfigError(f"{error}; drop --precision") from error
    trainer = _trainer(config, model, optimizer, rng, step_size, evaluator, ranks)
    return GraphedTrainer(trainer) if on_cuda else trainer


def _trainer(
    config: TrainConfig,
    model: Model,
    optimizer: torch.optim.Optimizer,
    rng: Tensor,
    step_size: float,
    evaluator: Evaluator,
    ranks: Ranks,
) -> Learner:
    parts: dict[str, Any] = {"evaluator": evaluator, "ranks": ranks}
    chain = {"mh": config.mh, "temperature": config.temperature} | parts
    if isinstance(model, VAE):
        if config.model == "hoffman":
            return HoffmanTrainer(model, optimizer, rng, config.steps, step_size, **chain)
        return VAETrainer(model, optimizer, rng, **parts)
    if config.model == "frozen":
        return FrozenTrainer(model, optimizer, config.prior, **parts)
    if config.per_image:
        return ImageLAETrainer(
            model, optimizer, rng, config.steps, step_size, config.damping,
            prior=config.prior, encoder_gradient=config.encoder_gradient, **chain,
        )  # fmt: skip
    return LAETrainer(
        model, optimizer, rng, config.steps, step_size,
        prior=config.prior, damping=config.damping if config.whiten else None, **chain,
    )  # fmt: skip
