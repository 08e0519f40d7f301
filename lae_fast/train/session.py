"""What a run consists of while it trains, and its way to the disk and back."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch

from lae_fast import data
from lae_fast.checkpoint import CheckpointError
from lae_fast.config import ConfigError, TrainConfig
from lae_fast.models import Model
from lae_fast.models.conditional import condition
from lae_fast.train import resume
from lae_fast.train.build import build_model, build_trainer
from lae_fast.train.iteration import IterationStats
from lae_fast.train.keeper import Keeper
from lae_fast.train.progress import Meter
from lae_fast.train.step_size import StepSizeControl
from lae_fast.train.watch import Watch


class Part(Protocol):
    """Something with a state of its own."""

    def facts(self) -> dict[str, Any]:
        """Everything that changes, as plain values."""
        ...

    def restore(self, facts: Mapping[str, Any]) -> None:
        """Put back what `facts` gave."""
        ...


class Session:
    """One run: its images, model and trainer, and what is counted and remembered on the way.

    Args:
        config: the settings.
        splits: its data set.
        device: where to compute.
        run: the run folder.
        weights: to start from, instead of the seed's.

    Raises:
        ConfigError: weights that do not fit the settings.
    """

    def __init__(
        self,
        config: TrainConfig,
        splits: data.Splits,
        device: torch.device,
        run: Path,
        weights: Mapping[str, torch.Tensor] | None = None,
    ) -> None:
        self.config, self.run, self.device = config, run, device
        self.train_set = splits.train.to(device)
        self.validation_set = splits.validation.to(device)
        if config.binarize:
            self.validation_set = self.validation_set.binarized()
        shape, classes = splits.train.image_shape, len(splits.train.class_names)
        self.model = build_model(config, shape, classes).to(device)
        if weights is not None:
            _start_from(self.model, weights, config)
        self.control = StepSizeControl(config)
        self.trainer = build_trainer(config, self.model, self.control.step_size)
        self.per_epoch = math.ceil(len(self.train_set) / config.batch_size)
        self.meter = Meter(config.steps, config.epochs * self.per_epoch)
        self.keeper = Keeper(run, self.model, config, {"image_shape": shape, "classes": classes})
        self.watch = Watch(config.has_chain)
        self._saved = time.monotonic()

    @property
    def parts(self) -> dict[str, Part]:
        """Everything with a state that is not a tensor."""
        return {
            "meter": self.meter, "keeper": self.keeper, "control": self.control,
            "watch": self.watch,
        }  # fmt: skip

    @property
    def between_epochs(self) -> bool:
        """Whether the last epoch begun was finished and recorded."""
        return self.keeper.epoch == self.meter.epoch

    @property
    def batches_done(self) -> int:
        """Batches of the present epoch that were trained on."""
        return self.meter.iteration - (self.meter.epoch - 1) * self.per_epoch

    def iteration(self, index: torch.Tensor) -> IterationStats:
        """Train on the images of ``index``; adapt the step size for the next iteration."""
        began = time.perf_counter()
        x = data.to_pixels(self.train_set.images.index_select(0, index))
        if self.config.binarize:
            # A function of (seed, iteration) alone, so that a resumed run sees the same images.
            seed = self.config.seed * 2**32 + self.meter.iteration
            x = data.binarize(x, seed % 2**63)
        condition(self.model, self.train_set.labels[index])
        stats = self.trainer.iteration(x)
        self.meter.add(stats, time.perf_counter() - began)
        self.control.update(stats.accept_prob)
        return stats

    def save(self, *, if_due: bool = False) -> None:
        """Write the state, between two iterations."""
        if if_due and time.monotonic() - self._saved < self.config.checkpoint_interval:
            return
        self.keeper.flush_best()  # a state counts on the best weights that it knows of
        facts = {name: part.facts() for name, part in self.parts.items()}
        resume.save(self.run, self.model, self.trainer, facts)
        self._saved = time.monotonic()

    def restore(self, state: resume.State) -> None:
        """Go back, or on, to a saved state.

        Raises:
            CheckpointError: it does not fit the settings.
        """
        resume.restore(state, self.model, self.trainer)
        try:
            for name, part in self.parts.items():
                part.restore(state.facts[name])
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"the saved state of {self.run} lacks {error}") from error
        self.trainer.step_size = self.control.step_size

    def go_back(self) -> bool:
        """Restore the last saved state, with half the step size; whether there was one."""
        step_size = self.control.step_size
        try:
            state = resume.load(self.run)
            if state is None:
                return False
            self.restore(state)
        except CheckpointError:
            return False
        self.control.step_size = min(self.control.step_size, step_size)
        self.control.shrink()
        self.trainer.step_size = self.control.step_size
        return True


def _start_from(model: Model, weights: Mapping[str, torch.Tensor], config: TrainConfig) -> None:
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise ConfigError(
            f"the weights of {config.init_from} do not fit these settings (model, architecture, "
            "latent-dim, hidden, likelihood and data set must be the same)"
        ) from error
