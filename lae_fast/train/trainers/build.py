"""From a configuration and a model to its trainer."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lae_fast.config import TrainConfig
from lae_fast.errors import ConfigError
from lae_fast.models import VAE, Model
from lae_fast.ranks import ALONE, Ranks
from lae_fast.sampling import ald
from lae_fast.train.trainers.base import Learner, Trainer
from lae_fast.train.trainers.controls import FrozenTrainer, IWAETrainer, VAETrainer
from lae_fast.train.trainers.graph import GraphedTrainer
from lae_fast.train.trainers.hoffman import HoffmanTrainer
from lae_fast.train.trainers.lae import LAETrainer
from lae_fast.train.trainers.passes import Evaluator, make_evaluator


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
) -> Learner[Any]:
    parts: dict[str, Any] = {"evaluator": evaluator, "ranks": ranks}
    chain = {"mh": config.mh, "temperature": config.temperature} | parts
    if isinstance(model, VAE):
        if config.model == "hoffman":
            return HoffmanTrainer(model, optimizer, rng, config.steps, step_size, **chain)
        if config.model == "iwae":
            return IWAETrainer(model, optimizer, rng, config.samples, **parts)
        return VAETrainer(model, optimizer, rng, **parts)
    if config.model == "frozen":
        return FrozenTrainer(model, optimizer, prior=config.prior, **parts)
    return LAETrainer(
        model,
        optimizer,
        rng,
        config.steps,
        step_size,
        config.ridge if config.whiten else None,
        accept="image" if config.per_image else "batch",
        prior=config.prior,
        encoder_gradient=config.encoder_gradient,
        **chain,
    )
