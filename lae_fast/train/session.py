"""A run while it trains: its parts, and how they are saved and restored."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch

from lae_fast import data, runs
from lae_fast.config import TrainConfig
from lae_fast.errors import CheckpointError, ConfigError, DataError
from lae_fast.models import own
from lae_fast.models.build import check_networks
from lae_fast.models.own import Networks
from lae_fast.ops.devices import named_device
from lae_fast.ranks import ALONE, Ranks
from lae_fast.runs import checkpoint, log
from lae_fast.train import state as saved_state
from lae_fast.train.average import Average
from lae_fast.train.best import Keeper
from lae_fast.train.lockstep import share_state
from lae_fast.train.trainers.step_size import StepSizeControl
from lae_fast.train.watching.meter import Meter
from lae_fast.train.watching.warnings import Watch
from lae_fast.train.worker import Place, Worker


def load_data(
    config: TrainConfig,
    ranks: Ranks,
    resume: Path | None = None,
    networks: Networks | None = None,
) -> tuple[data.Splits, Networks | None]:
    """The data set, on every rank, and the run's own networks where it has such.

    Rank 0 goes first, since it may download the data set.

    Args:
        config: the settings.
        ranks: the processes that train together.
        resume: the run folder to continue.
        networks: instead of the folder's.

    Raises:
        DataError, ConfigError, CheckpointError: on the rank where it happened.
        OtherRankError: on the others.
    """
    splits: data.Splits | None = None
    for turn in (True, False):
        error: Exception | None = None
        if ranks.leads is turn:
            try:
                splits = _load(config)
                shape, classes = splits.train.image_shape, len(splits.train.class_names)
                if networks is None and resume is not None and config.architecture == "own":
                    networks = own.load(resume, shape, config.latent_dim)
                check_networks(config, shape, classes, networks)
            except (DataError, ConfigError, CheckpointError) as problem:
                error = problem
        ranks.agree(error)
    assert splits is not None
    return splits, networks


def check_trainable(configs: Mapping[str, TrainConfig], *, here: bool) -> None:
    """Load every data set, downloading what is missing, and see that the networks can be built.

    Args:
        configs: what is to be trained, by the name that an error gives it.
        here: whether on this machine, so that its devices count.

    Raises:
        ConfigError: one that cannot be trained.
        DataError: a data set that cannot be had.
    """
    seen: dict[tuple[object, ...], tuple[tuple[int, int, int], int]] = {}
    for name, config in configs.items():
        of_data = (
            config.dataset,
            config.data_dir,
            config.validation,
            config.validation_fraction,
            config.image_size,
        )
        if of_data not in seen:
            splits = _load(config)
            seen[of_data] = splits.train.image_shape, len(splits.train.class_names)
        try:
            check_networks(config, *seen[of_data])
            initial_weights(config)
            if here:
                named_device(config.device)
        except ConfigError as error:
            raise ConfigError(f"{name}: {error}") from error


def _load(config: TrainConfig) -> data.Splits:
    return data.load(
        config.dataset,
        config.data_dir,
        download=config.download,
        validation=config.validation,
        validation_fraction=config.validation_fraction,
        image_size=config.image_size,
    )


def open_session(
    config: TrainConfig,
    splits: data.Splits,
    device: torch.device,
    resume: Path | None,
    ranks: Ranks,
    networks: Networks | None = None,
) -> Session:
    """A new run's session, or that of the run to continue.

    Raises:
        RunError, CheckpointError, ConfigError: no such run, nothing to read, or it does not fit.
    """
    state = saved_state.load(resume) if resume is not None else None
    weights = initial_weights(config)
    run = resume
    if run is None:
        run = runs.create(config.run_root, config.name, config.dataset, config.model)
        runs.write_config(run, config)
    session = Session(config, splits, device, run, weights, ranks, networks)
    if state is not None:
        session.restore(state)
    return session


def initial_weights(config: TrainConfig) -> dict[str, torch.Tensor] | None:
    """The weights that ``init_from`` names.

    Raises:
        RunError, CheckpointError: no such run, or no weights in it.
    """
    if config.init_from is None:
        return None
    return checkpoint.read(runs.find(config.run_root, config.init_from), "best")[0]


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
        ranks: the processes that train together; this one leads them.
        networks: encoder and decoder of the user's, if the run has such.

    Attributes:
        model: what is validated and kept: the average of the trained weights, where there is one.

        notes: what a reader should know of how it was restored.

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
        ranks: Ranks = ALONE,
        networks: Networks | None = None,
    ) -> None:
        self.config, self.run, self.device = config, run, device
        self.worker = Worker(config, splits, device, ranks, weights, networks)
        self.trainer = self.worker.trainer
        self.average = Average(self.worker.model, config.ema)
        self.model = self.average.model
        self.validation_set = splits.validation.to(device)
        if config.binarize:
            self.validation_set = self.validation_set.binarized()
        self.per_epoch = self.worker.per_epoch
        self.control = StepSizeControl(config)
        self.meter = Meter(config.steps, config.epochs * self.per_epoch)
        shape, classes = splits.train.image_shape, len(splits.train.class_names)
        self.keeper = Keeper(run, self.model, config, {"image_shape": shape, "classes": classes})
        self.watch = Watch(config.has_chain)
        self.notes: list[str] = []
        self._saved = time.monotonic()

    @property
    def parts(self) -> dict[str, Part]:
        """Everything with a state that is not a tensor."""
        return {
            "meter": self.meter,
            "keeper": self.keeper,
            "control": self.control,
            "watch": self.watch,
        }

    @property
    def between_epochs(self) -> bool:
        """Whether the last epoch begun was finished and recorded."""
        return self.keeper.epoch == self.meter.epoch

    @property
    def batches_done(self) -> int:
        """Batches of the present epoch that were trained on."""
        return self.meter.iteration - (self.meter.epoch - 1) * self.per_epoch

    @property
    def place(self) -> Place:
        """The iteration that comes next."""
        return Place(self.meter.iteration, self.meter.epoch, self.batches_done)

    def save(self, *, if_due: bool = False) -> None:
        """Write the state, between two iterations."""
        if if_due and time.monotonic() - self._saved < self.config.checkpoint_interval:
            return
        # A state counts on the events and on the best weights that it knows of.
        log.sync(self.run)
        self.keeper.flush_best()
        facts: dict[str, Any] = {name: part.facts() for name, part in self.parts.items()}
        facts["threads"] = torch.get_num_threads()
        saved_state.save(self.run, self.worker.model, self.trainer, self.average, facts)
        self._saved = time.monotonic()

    def restore(self, state: saved_state.State) -> None:
        """Go back, or on, to a saved state.

        Raises:
            CheckpointError: it does not fit the settings.
        """
        saved_state.restore(state, self.worker.model, self.trainer, self.average)
        try:
            for name, part in self.parts.items():
                require_alike(name, part.facts(), state.facts[name])
                part.restore(state.facts[name])
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise CheckpointError(f"the saved state of {self.run} lacks {error}") from error
        if not 0 <= self.batches_done <= self.per_epoch and self.meter.iteration:
            raise CheckpointError(f"the saved state of {self.run} is of another data set")
        if self.config.has_chain and not 0 < self.control.step_size < math.inf:
            raise CheckpointError(f"the saved state of {self.run} has no step size")
        if state.problem:
            self.notes.append(f"{state.problem}; this goes on from the state before it")
        before, now = state.facts.get("threads"), torch.get_num_threads()
        if self.device.type == "cpu" and isinstance(before, int) and before != now:
            self.notes.append(
                f"it had {before} thread{'s' if before > 1 else ''} so far and now has {now}; "
                "sums are rounded in another order, so its bytes will differ from those of a run "
                f"never interrupted; OMP_NUM_THREADS={before} keeps them"
            )

    def go_back(self) -> bool:
        """Restore the last saved state, with half the step size; whether there was one."""
        step_size = self.control.step_size
        try:
            state = saved_state.load(self.run)
            if state is None:
                return False
            self.restore(state)
        except CheckpointError:
            return False
        self.control.step_size = min(self.control.step_size, step_size)
        self.control.shrink()
        share_state(self.worker)
        return True


def require_alike(name: str, want: Any, got: Any) -> None:
    """Raise `ValueError` unless saved facts have the kinds of values that a part would save."""
    if isinstance(want, dict) and isinstance(got, dict):
        for key, value in want.items():
            require_alike(f"{name}.{key}", value, got[key])
        return
    kinds: dict[type, tuple[type, ...]] = {float: (int, float), tuple: (list,)}
    right = type(got) in kinds.get(type(want), (type(want),))
    if not right or (type(want) is int and not 0 <= got < 2**63):
        raise ValueError(f"a proper {name}")
