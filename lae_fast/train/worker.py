"""What every rank has: images, model and trainer, and how it trains on its share of a batch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from lae_fast import data
from lae_fast.config import TrainConfig
from lae_fast.errors import ConfigError
from lae_fast.models import Model
from lae_fast.models.build import build_model
from lae_fast.models.own import Networks
from lae_fast.ranks import Ranks
from lae_fast.train import state as saved_state
from lae_fast.train.trainers.base import IterationStats
from lae_fast.train.trainers.build import build_trainer
from lae_fast.train.trainers.step_size import StepSizeControl


@dataclass(frozen=True)
class Place:
    """Which iteration: ``iteration`` counts over the run, ``batch`` within the epoch."""

    iteration: int
    epoch: int
    batch: int


class Worker:
    """Trains on its share of each batch.

    Args:
        config: the settings.
        splits: the data set.
        device: where to compute.
        ranks: the processes that train together.
        weights: to start from, instead of the seed's.
        networks: encoder and decoder of the user's, if the run has such.

    Raises:
        ConfigError: weights that do not fit the settings.
    """

    def __init__(
        self,
        config: TrainConfig,
        splits: data.Splits,
        device: torch.device,
        ranks: Ranks,
        weights: Mapping[str, Tensor] | None = None,
        networks: Networks | None = None,
    ) -> None:
        self.config, self.device, self.ranks = config, device, ranks
        self.train_set = splits.train.to(device)
        shape, classes = splits.train.image_shape, len(splits.train.class_names)
        self.model = build_model(config, shape, classes, networks).to(device)
        if weights is not None:
            _start_from(self.model, weights, config)
        self.trainer = build_trainer(config, self.model, StepSizeControl(config).step_size, ranks)
        self.per_epoch = math.ceil(len(self.train_set) / config.batch_size)
        self._order: tuple[int, list[Tensor]] = (-1, [])

    def train_on(self, place: Place) -> IterationStats:
        """Train on one batch.

        Raises:
            TrainingError: on every rank; the weights are left as they were.
            RankLostError: another rank is gone; everything is left as it was.
        """
        whole = self._batch(place)
        share = self.ranks.share(len(whole))
        index = whole[share]
        x = data.to_pixels(self.train_set.images.index_select(0, index))
        if self.config.binarize:
            # A function of (seed, iteration) alone, so that a resumed run sees the same images.
            seed = (self.config.seed * 2**32 + place.iteration) % 2**63
            x = data.binarize(x, seed, first=share.start, images=len(whole))
        self._set_learning_rate(self._learning_rate(place.iteration))
        self.trainer.kl_weight = self._kl_weight(place.iteration)
        return self.trainer.iteration(x, len(whole), self.train_set.labels[index])

    def _set_learning_rate(self, rate: float) -> None:
        for group in self.trainer.optimizer.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate

    def _learning_rate(self, iteration: int) -> float:
        config = self.config
        if config.learning_rate_schedule == "constant":
            return config.learning_rate
        done = min(iteration / (config.epochs * self.per_epoch), 1.0)
        return config.learning_rate * 0.5 * (1 + math.cos(math.pi * done))

    def _kl_weight(self, iteration: int) -> float:
        warmup = self.config.warmup * self.per_epoch
        return min(1.0, iteration / warmup) if warmup else 1.0

    def receive(self) -> None:
        """Copy rank 0's weights, moments and generators to this rank; rank 0 sends them."""
        tensors = saved_state.tensors(self.model, self.trainer) if self.ranks.leads else None
        received = self.ranks.tell_tensors(tensors)
        if not self.ranks.leads:
            saved_state.restore(saved_state.State(received, {}), self.model, self.trainer)

    def _batch(self, place: Place) -> Tensor:
        epoch, batches = self._order
        if epoch != place.epoch:
            batches = list(
                data.batch_indices(
                    len(self.train_set),
                    self.config.batch_size,
                    seed=self.config.seed,
                    epoch=place.epoch,
                    device=self.device,
                )
            )
            self._order = place.epoch, batches
        return batches[place.batch]


def _start_from(model: Model, weights: Mapping[str, Tensor], config: TrainConfig) -> None:
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise ConfigError(
            f"the weights of {config.init_from} do not fit these settings (model, architecture, "
            "latent-dim, hidden, likelihood and data set must be the same)"
        ) from error
