"""What a run has said so far, read as it grows, and frozen views of it for the screen."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from lae_cli.dashboard.following.columns import EVALUATED, LOUD, PROGRESS, Columns, Table
from lae_cli.terminal import vocabulary
from lae_fast import runs
from lae_fast.errors import printable
from lae_fast.runs.events import (
    SCHEMA_VERSION,
    CommandTaken,
    Evaluated,
    Event,
    Heartbeat,
    Message,
    Progress,
    RunFinished,
    RunStarted,
)

CHUNK = 4000
"""Lines read at once, so that the thread that draws gets its turn."""
MOST_NOTES = 500


@dataclass(frozen=True, eq=False)
class Frame:
    """One run at one moment. Nothing in it changes any more."""

    path: Path
    summary: runs.Summary
    config: dict[str, Any]
    now: float
    """Unix time: the present, or the moment that a replay has reached."""
    started: RunStarted | None
    progress: Progress | None
    evaluated: Evaluated | None
    best: Evaluated | None
    finished: RunFinished | None
    heartbeat: Heartbeat | None
    notes: tuple[Message | CommandTaken, ...]
    history: Table
    """One row a `Progress`."""
    validation: Table
    """One row an `Evaluated`."""
    pictured: tuple[Evaluated, ...]
    """Those that left a snapshot: few, since snapshots become rarer as a run goes on."""
    share_read: float
    """How much of the log is in the tables; the latest events are there at once."""
    problem: str | None
    """Why there is little or nothing to show; one line."""
    replaying: bool = False

    @property
    def name(self) -> str:
        """The folder's name, printable."""
        return printable(self.path.name) or "?"

    @property
    def chain(self) -> bool:
        """Whether the model has a chain at all."""
        model = self.summary.model or self.config.get("model")
        return vocabulary.has_chain(model if isinstance(model, str) else None)

    @property
    def mh(self) -> bool:
        """Whether Metropolis-Hastings is on; it is unless the settings say otherwise."""
        return self.config.get("mh") is not False

    @property
    def target_accept(self) -> float:
        """The acceptance that is aimed at."""
        value = self.config.get("target_accept")
        return float(value) if isinstance(value, int | float) and 0 < value < 1 else 0.574

    @property
    def status(self) -> str:
        """The summary's status, and ``paused`` while the trainer says so."""
        if self.replaying:
            return self.finished.status if self.finished else "running"
        paused = self.heartbeat is not None and self.heartbeat.state == "paused"
        return "paused" if paused and self.summary.status == "running" else self.summary.status

    @property
    def controllable(self) -> bool:
        """Whether a trainer may be there to take a command."""
        return self.summary.active and not self.replaying

    @property
    def last_event(self) -> float | None:
        """Unix time of the newest event."""
        shown = (self.started, self.progress, self.evaluated, self.heartbeat, self.finished)
        return max((event.time for event in shown if event is not None), default=None)


@dataclass
class _Latest:
    """The newest event of each kind."""

    started: RunStarted | None = None
    progress: Progress | None = None
    evaluated: Evaluated | None = None
    best: Evaluated | None = None
    finished: RunFinished | None = None
    heartbeat: Heartbeat | None = None
    notes: list[Message | CommandTaken] = field(default_factory=list)

    def take(self, event: Event) -> None:
        match event:
            case RunStarted():
                self.started, self.finished = event, None  # resumed: not finished after all
            case Progress():
                self.progress, self.heartbeat = event, None
            case Evaluated():
                self.evaluated, self.heartbeat = event, None
                self.best = event if event.best else self.best
            case Heartbeat():
                self.heartbeat = event
            case RunFinished():
                self.finished, self.heartbeat = event, None
            case Message() | CommandTaken():
                self.notes.append(event)
                del self.notes[:-MOST_NOTES]


class Story:
    """Follows one run folder; used by one thread.

    The ends of the log are read first, so that the newest figures are there at once; the history
    follows, a few thousand lines a call.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._restarts = 0
        self._reset()

    def _reset(self) -> None:
        self._reader = runs.EventReader(self.path)
        self._restarts = 0
        self._history, self._validation = Columns(PROGRESS, LOUD), Columns(EVALUATED, ("val_loss",))
        self._pictured: list[Evaluated] = []
        self._latest = self._read = _Latest()
        self._whole = False
        ends = runs.read_ends(self.path)
        if ends:
            self._latest = _Latest()
            for event in ends:
                self._latest.take(event)
        self.config = runs.read_config(self.path)

    def poll(self) -> bool:
        """Read on; whether there was anything. Call again soon while `complete` is false."""
        before = self._reader.offset
        events = self._reader.poll(limit=CHUNK)
        if self._reader.restarts != self._restarts:
            self._reset()
            return True
        if not self.config:
            self.config = runs.read_config(self.path)
        self._take(events)
        moved = self._reader.offset != before
        if not self._whole and (not moved or self._reader.offset >= self._size()):
            self._whole = True
            self._latest = self._read
        return moved

    @property
    def complete(self) -> bool:
        """Whether the log has been read to its end."""
        return self._whole

    def _take(self, events: Iterable[Event]) -> None:
        events = list(events)
        for event in events:
            self._read.take(event)
        if self._whole:
            self._latest = self._read
        begin = 0
        for place, event in enumerate(events):
            if isinstance(event, RunStarted):
                self._append(events[begin:place])
                self._go_back(event.iteration)
                begin = place
        self._append(events[begin:])

    def _append(self, events: Sequence[Event]) -> None:
        self._history.append([event for event in events if isinstance(event, Progress)])
        evaluations = [event for event in events if isinstance(event, Evaluated)]
        self._validation.append(evaluations)
        self._pictured += [event for event in evaluations if event.snapshot]

    def _go_back(self, iteration: int) -> None:
        """A resumed run does again what was lost since its last saved state."""
        self._history.cut("iteration", iteration)
        self._validation.cut("iteration", iteration)
        self._pictured = [event for event in self._pictured if event.iteration <= iteration]

    def frame(self, summary: runs.Summary, *, until: float | None = None) -> Frame:
        """The run as it is, or as it was at a time (Unix seconds)."""
        latest = self._latest
        frame = Frame(
            path=self.path,
            summary=summary,
            config=self.config,
            now=time.time(),
            started=latest.started,
            progress=latest.progress,
            evaluated=latest.evaluated,
            best=latest.best or self._read.best,
            finished=latest.finished,
            heartbeat=latest.heartbeat,
            notes=tuple(latest.notes[-50:]),
            history=self._history.table(),
            validation=self._validation.table(),
            pictured=tuple(self._pictured),
            share_read=1.0 if self._whole else self._reader.offset / max(1, self._size()),
            problem=problem(self.path, summary, self._reader.skipped),
        )
        return frame if until is None else rewound(frame, until)

    def _size(self) -> int:
        try:
            return os.stat(self.path / runs.EVENTS_FILE).st_size
        except OSError:
            return 0


def rewound(frame: Frame, until: float) -> Frame:
    """The frame as it was at a time; its events are made up from the columns."""
    history, validation = frame.history.before(until), frame.validation.before(until)
    ended = frame.finished is not None and frame.finished.time <= until
    best = np.flatnonzero(validation.column("best"))
    return replace(
        frame,
        now=until,
        progress=_progress_at(history),
        evaluated=_evaluated(validation, -1) if len(validation) else None,
        best=_evaluated(validation, int(best[-1])) if len(best) else None,
        finished=frame.finished if ended else None,
        heartbeat=None,
        notes=tuple(note for note in frame.notes if note.time <= until),
        history=history,
        validation=validation,
        pictured=tuple(event for event in frame.pictured if event.time <= until),
        replaying=True,
    )


def _progress_at(history: Table) -> Progress | None:
    if not len(history):
        return None
    values = _values(history, -1)
    return Progress(**values | {"memory_bytes": _whole(values["memory_bytes"]) or None})


def _evaluated(validation: Table, place: int) -> Evaluated:
    values = _values(validation, place)
    checks = {
        n: None if math.isnan(values[n]) else values[n] for n in ("ess_per_step", "split_rhat")
    }
    return Evaluated(**values | checks | {"best": bool(values["best"]), "latent_std": ()})


def _values(table: Table, place: int) -> dict[str, Any]:
    row: dict[str, Any] = {name: float(table.column(name)[place]) for name in table.names}
    return row | {name: _whole(row[name]) for name in ("epoch", "iteration")}


def _whole(value: float) -> int:
    return int(value) if math.isfinite(value) else 0


def problem(path: Path, summary: runs.Summary, skipped: int) -> str | None:
    """What is wrong with a run folder, in one line; None when nothing is."""
    log = path / runs.EVENTS_FILE
    if not path.is_dir():
        return "the run folder is gone: it was deleted or moved"
    for file in (path, log):
        if file.exists() and not os.access(file, os.R_OK):
            return f"cannot read {printable(str(file))}: it belongs to somebody else"
    if summary.last_event is None:
        if newer(log):
            return "written by a newer version of lae; upgrade to read it"
        if log.exists() and not log.is_file():
            return "events.jsonl is not a file"
        if summary.status == "not a run":
            return "this folder is not a run"
        silent = "the trainer ended before it said anything"
        return None if summary.status == "starting" else silent
    if skipped:
        return f"{skipped} lines of the event log could not be read and were left out"
    return None


def newer(log: Path) -> bool:
    """Whether a log begins in a schema that this version does not know."""
    try:
        if not log.is_file():
            return False
        with open(log, "rb") as file:
            return bool(json.loads(file.readline(1 << 14))["schema"] > SCHEMA_VERSION)
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return False
