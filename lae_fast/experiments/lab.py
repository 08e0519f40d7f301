"""Where a study works: data, seeds, trained models that are trained once, folders for results."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from lae_fast import runs
from lae_fast.analysis.saved import SavedRun, held_out_images, load_splits, open_run
from lae_fast.config import TrainConfig
from lae_fast.config.presets import ALGORITHM_2
from lae_fast.config.settings import from_dict, load_json
from lae_fast.data import ImageSet, Splits
from lae_fast.errors import CheckpointError, NotTrainedError
from lae_fast.experiments.outcome import Cell, Outcome, ResultTable, over_seeds

ELSEWHERE = ("run_root", "name", "device", "data_dir", "download", "checkpoint_interval")
"""Settings that do not change what is learned."""
DONE = ("finished", "stopped-early")
QUICK = {
    "dataset": "digits",
    "hidden": 64,
    "batch_size": 64,
    "learning_rate": 1e-3,
    "epochs": 25,
    "patience": 0,
}
FULL = {"dataset": "mnist"}


@dataclass
class Lab:
    """What a study is given.

    Attributes:
        quick: small models on digits instead of the settings of Bisht 2023 on MNIST.
        run_root: folder of run folders; finished ones with the same settings are used again.
        data_dir: where data sets lie.
        out: folder of results; pictures go to ``out/results``.
        train: whether missing models may be trained. If not, unfinished runs are measured with
            their best weights so far, and the outcome names them.
        seed_count: how many seeds; figures are their mean and standard deviation.
        device: where models are trained and measured.
        say: receives a line about each training, and about each model that is missing.
    """

    quick: bool
    run_root: Path
    data_dir: str
    out: Path
    train: bool = True
    seed_count: int = 1
    device: torch.device | str = "cpu"
    say: Callable[[str], None] = lambda line: None
    complete: bool = True
    partial: set[str] = field(default_factory=set)
    missing: set[str] = field(default_factory=set)
    _found: dict[TrainConfig, SavedRun | None] = field(default_factory=dict)
    _began: float = field(default_factory=time.monotonic)

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds with which every model is trained and measured."""
        return tuple(range(self.seed_count))

    def config(self, **settings: Any) -> TrainConfig:
        """The settings of a training of this lab, validated on the test set as in Bisht 2023."""
        base = {**ALGORITHM_2, "validation": "test"} | (QUICK if self.quick else FULL)
        place = {"run_root": str(self.run_root), "data_dir": self.data_dir}
        return from_dict(base | place | settings)

    def trained(self, **settings: Any) -> SavedRun:
        """A model of these settings: from a finished run folder, or trained now.

        Raises:
            NotTrainedError: it is missing and must not be trained.
        """
        config = self.config(**settings)
        known = self.runs_of(config)
        done = [path for path, summary in known if summary.status in DONE]
        if done:
            return self._open(done[0])
        if not self.train:
            return self._unfinished(config, known)
        self._leave_to_others(config, known)
        return self._open(self._train(config, known[-1][0] if known else None))

    def trained_to(self, config: TrainConfig) -> Path:
        """The run of these settings after exactly their epochs; one that has fewer goes on.

        Raises:
            NotTrainedError: it is missing and must not be trained.
        """
        known = self.runs_of(config, but=("epochs",))
        for path, summary in known:
            if summary.epochs == config.epochs and summary.status in DONE:
                return path
        if not self.train:
            raise self._misses(config, f"no run of {_label(config)} has {config.epochs} epochs")
        self._leave_to_others(config, known)
        shorter = [(run.epochs, path) for path, run in known if run.epochs < config.epochs]
        return self._train(config, max(shorter)[1] if shorter else None)

    def runs_of(
        self, config: TrainConfig, *, but: Collection[str] = ()
    ) -> list[tuple[Path, runs.Summary]]:
        """Run folders of the same settings, finished or not; those named in ``but`` may differ."""
        found = []
        for path in sorted(runs.folders(self.run_root)):
            try:
                theirs = load_json(path / runs.CONFIG_FILE)
            except ValueError:
                continue
            if _essence(theirs, but) == _essence(config, but):
                found.append((path, runs.summarise(path, quick=True)))
        return found

    def find(self, **settings: Any) -> SavedRun | None:
        """`trained`, or None where the model is missing; the outcome is incomplete then."""
        config = self.config(**settings)
        if config not in self._found:
            try:
                self._found[config] = self.trained(**settings)
            except NotTrainedError as error:
                self._found[config], self.complete = None, False
                self.say(str(error))
        return self._found[config]

    def measure(
        self, settings: dict[str, Any], figures: Callable[[SavedRun], dict[str, float]]
    ) -> dict[str, Cell]:
        """Figures of the model of these settings, over the seeds; empty where it is missing."""
        return over_seeds(figures(run) for run in self.each_seed(settings))

    def each_seed(self, settings: dict[str, Any]) -> Iterator[SavedRun]:
        """The models of these settings, one per seed; missing ones are left out."""
        for seed in self.seeds:
            run = self.find(**settings, seed=seed)
            if run is not None:
                yield run

    @functools.cached_property
    def splits(self) -> Splits:
        """The lab's data set."""
        return load_splits(self.config())

    @functools.cached_property
    def held_out(self) -> ImageSet:
        """Its held-out images, in a fixed shuffled order."""
        return held_out_images(self.config())

    def picture(self, name: str) -> Path:
        """Where a picture of a study goes."""
        return self.out / "results" / name

    def outcome(
        self,
        name: str,
        title: str,
        setting: str,
        tables: list[ResultTable],
        pictures: dict[str, str],
    ) -> Outcome:
        """The result of a study; ``pictures`` maps names for `picture` to captions."""
        shown = {f"results/{file}": caption for file, caption in pictures.items()}
        return Outcome(
            name,
            title,
            setting,
            tables,
            shown,
            quick=self.quick,
            seconds=time.monotonic() - self._began,
            complete=self.complete,
            partial=sorted(self.partial),
            missing=sorted(self.missing),
            seeds=self.seed_count,
        )

    def _open(self, path: Path) -> SavedRun:
        return open_run(path, device=self.device)

    def _misses(self, config: TrainConfig, why: str) -> NotTrainedError:
        """The error that a model is missing; the outcome names the model."""
        self.missing.add(_label(config))
        return NotTrainedError(why)

    def _leave_to_others(self, config: TrainConfig, known: list[tuple[Path, runs.Summary]]) -> None:
        """Raise where another process is training one of these runs."""
        for path, summary in known:
            if summary.status in ("starting", "running"):
                raise self._misses(config, f"{path.name} is being trained by another process")

    def _unfinished(self, config: TrainConfig, known: list[tuple[Path, runs.Summary]]) -> SavedRun:
        """The first of the unfinished runs, with its best weights so far; the outcome names it."""
        if not known:
            raise self._misses(config, f"no finished run of {_label(config)}")
        path, summary = known[0]
        self.complete = False
        try:
            found = self._open(path)
        except CheckpointError as error:
            raise self._misses(config, str(error)) from error
        self.partial.add(f"{_label(config)} (epoch {summary.epochs})")
        return found

    def _train(self, config: TrainConfig, begun: Path | None) -> Path:
        config = dataclasses.replace(config, device=torch.device(self.device).type)
        if begun is not None:
            self.say(f"going on with {begun.name}")
            try:
                return _run(config, begun)
            except CheckpointError as error:  # another version's: it stays, for that one
                self.say(f"{begun.name}: {error}; training anew")
            except runs.RunError as error:  # another process has just begun to train it
                raise self._misses(config, str(error)) from error
        self.say(f"training {_label(config)}")
        return _run(config)


def _run(config: TrainConfig, begun: Path | None = None) -> Path:
    from lae_fast.train import train

    run = ""
    for event in train(config, resume=begun):
        run = getattr(event, "run", run)
    return Path(run)


def _essence(config: TrainConfig, but: Collection[str] = ()) -> dict[str, Any]:
    """What decides what is learned, with ``auto`` resolved."""
    values = dataclasses.asdict(config) | {"damping": config.ridge, "start": config.gaussian_start}
    return {key: value for key, value in values.items() if key not in {*ELSEWHERE, *but}}


def _label(config: TrainConfig) -> str:
    words = [config.dataset, config.model, f"z={config.latent_dim}"]
    words += [config.architecture] if config.architecture != "mlp" else []
    words += [f"K={config.samples}"] if config.model == "iwae" else []
    words += ["from a draw"] if config.gaussian_start else []
    words += ["conditional"] if config.conditional else []
    words += ["no prior"] if not config.prior else []
    words += [f"depth {config.depth}"] if config.depth != TrainConfig.depth else []
    if config.has_chain:
        words += [f"T={config.steps}", "MH" if config.mh else "no MH"]
    return " ".join([*words, f"at {config.learning_rate:g}", f"seed {config.seed}"])
