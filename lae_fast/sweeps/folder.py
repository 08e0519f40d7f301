"""The folder of a sweep: its points' run folders, its record, and how far each point is.

``sweep.json`` holds the settings of every point that was ever asked for, under the name of its run
folder; ``.jobs/`` the log of each job, and a note of how it went. Points are never taken out of the
record: when the file changes, the new ones join the old.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lae_fast import runs
from lae_fast.config import TrainConfig
from lae_fast.config.settings import from_dict
from lae_fast.errors import ConfigError, RunError, reason
from lae_fast.runs.files import (
    BLOCK,
    SWEEP_FILE,
    open_own,
    open_regular,
    own_folder,
    write_atomically,
)
from lae_fast.sweeps.spec import Sweep, Wanted, identity

JOBS = ".jobs"
SCHEMA = 1
DONE = ("finished", "stopped-early", "time-limit", "stopped")
"""Points with these statuses are not trained again, even if somebody stopped the run."""
WAITING, INTERRUPTED, FAILED = "waiting", "interrupted", "failed"


@dataclass(frozen=True)
class Point:
    """A run of a sweep.

    Attributes:
        name: of its run folder.
        config: all settings, with ``name`` and ``run_root``.
        listed: whether the file still asks for it.
    """

    name: str
    config: TrainConfig
    listed: bool = True


@dataclass(frozen=True)
class PointState:
    """How far a point is.

    Attributes:
        point: which.
        status: one of `DONE`, waiting, interrupted, failed, or what a live run is: starting,
            running, silent.
        summary: of its run folder, if there is one.
        error: why it failed; one line.
    """

    point: Point
    status: str
    summary: runs.Summary | None = None
    error: str | None = None

    @property
    def done(self) -> bool:
        """Whether there is nothing left to do."""
        return self.status in DONE

    @property
    def active(self) -> bool:
        """Whether a trainer is at work."""
        return self.summary is not None and self.summary.active


@dataclass(frozen=True)
class Note:
    """What is known of a point's last job.

    Attributes:
        threads: that it computes with; a resumed run is exact only with as many.
        error: why it failed; None when it did not.
    """

    threads: int | None = None
    error: str | None = None


class SweepFolder:
    """The folder ``root``; made when something is written."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.jobs = root / JOBS

    def points(self) -> list[Point]:
        """All points of the record; [] when there is none.

        Raises:
            RunError: the record is damaged.
        """
        text = b""
        with open_regular(self.root / SWEEP_FILE) as file:
            if file is None:
                return []
            text = b"".join(iter(lambda: file.read(BLOCK), b""))
        try:
            found = json.loads(text)["points"]
            return [Point(name, self._config(name, values)) for name, values in found.items()]
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise RunError(
                f"{self.root / SWEEP_FILE} is damaged ({error}); restore it, or choose another name"
            ) from error

    def point(self, name: str) -> Point:
        """The point of that name.

        Raises:
            RunError: there is none.
        """
        for point in self.points():
            if point.name == name:
                return point
        raise RunError(f"{self.root} has no point {name}")

    def merge(self, sweep: Sweep) -> list[Point]:
        """The points that the file asks for, then those that only the record still has.

        Raises:
            RunError: the folder belongs to something else, or the record is damaged.
        """
        if self.root.exists() and not self._ours():
            raise RunError(f"{self.root} exists and is not a sweep; choose another name")
        recorded = {identity(point.config): point for point in self.points()}
        names = {point.name for point in recorded.values()}
        listed: list[Point] = []
        for wanted in sweep.points:
            known = recorded.pop(identity(wanted.config), None)
            name = known.name if known else _free_name(wanted, names)
            names.add(name)
            listed.append(Point(name, self._placed(wanted.config, name)))
        return listed + [dataclasses.replace(old, listed=False) for old in recorded.values()]

    def write(self, points: Sequence[Point]) -> None:
        """Store the record, all or nothing.

        Raises:
            RunError: the folder cannot be written.
        """
        self._make()
        values = {point.name: _settings(point.config) for point in points}
        text = json.dumps({"schema": SCHEMA, "points": values}, indent=1)
        write_atomically(self.root / SWEEP_FILE, text + "\n")

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Only one process at a time drives a sweep; the lock goes with the process.

        Raises:
            RunError: another one does.
        """
        self._make()
        with open_own(self.jobs / "lock") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise RunError(
                    f"another `lae sweep` runs {self.root}; add --show to look at it"
                ) from None
            yield

    def state(self, point: Point) -> PointState:
        """How far a point is, from what is on the disk."""
        run, error = self.root / point.name, self.note(point.name).error
        summary = runs.summarise(run, quick=True) if run.is_dir() else None
        status = WAITING if summary is None else summary.status
        if status in DONE or (summary is not None and summary.active and error is None):
            return PointState(point, status, summary)
        if status == FAILED or error is not None:
            return PointState(point, FAILED, summary, error or "training failed numerically")
        begun = status in (INTERRUPTED, "crashed", "starting")
        return PointState(point, INTERRUPTED if begun else WAITING, summary)

    def active(self, name: str) -> bool:
        """Whether a trainer is at work on the point of that name."""
        run = self.root / name
        return run.is_dir() and runs.summarise(run, quick=True).active

    def log(self, name: str) -> Path:
        """What a point's jobs print."""
        return self.jobs / f"{name}.log"

    def note(self, name: str) -> Note:
        """What is known of a point's last job."""
        with open_regular(self.jobs / f"{name}.json") as file:
            try:
                values = json.loads(file.read(BLOCK)) if file is not None else {}
                return Note(values.get("threads"), values.get("error"))
            except (OSError, ValueError, AttributeError, RecursionError):
                return Note()

    def write_note(self, name: str, note: Note) -> None:
        """Replace it."""
        write_atomically(self.jobs / f"{name}.json", json.dumps(dataclasses.asdict(note)) + "\n")

    def _make(self) -> None:
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            own_folder(self.root, JOBS)
        except OSError as error:
            raise RunError(f"cannot make {self.jobs}: {reason(error)}") from error

    def _ours(self) -> bool:
        """Whether nothing but a sweep is in the folder."""
        try:
            left = set(os.listdir(self.root)) - {JOBS}
        except OSError as error:
            raise RunError(f"cannot use {self.root}: {reason(error)}") from error
        return not left or (self.root / SWEEP_FILE).exists()

    def _placed(self, config: TrainConfig, name: str) -> TrainConfig:
        return dataclasses.replace(config, run_root=str(self.root), name=name)

    def _config(self, name: str, values: Mapping[str, Any]) -> TrainConfig:
        if not runs.is_name(name):
            raise ConfigError(f"{name!r} is not a name")
        return self._placed(from_dict(values), name)


def _settings(config: TrainConfig) -> dict[str, Any]:
    return {k: v for k, v in config.to_dict().items() if k not in ("name", "run_root")}


def _free_name(wanted: Wanted, names: set[str]) -> str:
    """The label, or the label with a number where another point has it."""
    name, count = wanted.label, 2
    while name in names:
        name, count = f"{wanted.label}-{count}", count + 1
    return name
