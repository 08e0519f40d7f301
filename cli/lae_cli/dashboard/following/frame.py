"""A run as the dashboard follows it: its log, read as it grows, and pictures of one moment."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lae_cli.dashboard.following.columns import EVALUATED, LOUD, PROGRESS, Columns
from lae_fast import runs
from lae_fast.errors import printable
from lae_fast.runs import health
from lae_fast.runs.events import SCHEMA_VERSION, Evaluated, Event, Progress, RunStarted
from lae_fast.runs.health import Finding
from lae_fast.runs.state import RunState
from lae_fast.runs.summary import Summary, read_state_quickly, status_of, summary_of

CHUNK = 4000
"""Lines read at once, so that the thread that draws gets its turn."""


@dataclass(eq=False, kw_only=True)
class Frame(RunState):
    """One run at one moment, with its history. Nothing in it changes any more."""

    path: Path
    now: float
    """Unix time: the present, or the moment that a replay has reached."""
    status: str
    """As of `lae_fast.runs.health.status`, or paused."""
    history: Columns
    """One row per `Progress`."""
    validation: Columns
    """One row per `Evaluated`."""
    pictured: tuple[Evaluated, ...]
    """Those that left a snapshot: few, since snapshots become rarer as a run goes on."""
    share_read: float
    """How much of the log is in the columns; the latest events are there at once."""
    problem: str | None
    """Why there is little or nothing to show; one line."""
    replaying: bool = False

    @property
    def name(self) -> str:
        """The folder's name, printable."""
        return printable(self.path.name) or "?"

    @property
    def controllable(self) -> bool:
        """Whether a trainer may be there to take a command."""
        return self.status in (*health.ACTIVE, "paused") and not self.replaying

    def findings(self) -> list[Finding]:
        """What is wrong with the run, worst first."""
        if self.problem is not None and (self.last_event is None or self.status == "not a run"):
            return [Finding("no data", False, True, self.problem)]
        quiet = self.now - self.last_event if self.controllable and self.last_event else None
        accepts = self.history.column("accept_rate" if self.mh else "accept_prob")
        return health.while_running(
            self,
            self.status,
            self.history.column("train_loss").tolist(),
            accepts[-health.STUCK_EVENTS :].tolist(),
            quiet,
        )


class Follower:
    """Reads one run folder as it grows; used by one thread.

    It reads the ends of the log first, so that the newest values are there at once; the history
    follows, a few thousand lines per call.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._reset()

    def _reset(self) -> None:
        self._reader = runs.EventReader(self.path)
        self._restarts = 0
        self._history, self._validation = Columns(PROGRESS, LOUD), Columns(EVALUATED, ("val_loss",))
        self._pictured: list[Evaluated] = []
        self._ends = read_state_quickly(self.path)
        self._state = RunState(self._ends.config)
        self.complete = False
        """Whether the log has been read to its end."""

    def poll(self) -> bool:
        """Read on; whether there was anything. Call again soon while `complete` is false."""
        before = self._reader.offset
        events = self._reader.poll(limit=CHUNK)
        if self._reader.restarts != self._restarts:
            self._reset()
            return True
        if not self._state.config:
            self._state.config = runs.read_config(self.path)
        self._take(events)
        moved = self._reader.offset != before
        self.complete |= not moved or self._reader.offset >= self._size()
        return moved

    def _take(self, events: Sequence[Event]) -> None:
        begin = 0
        for place, event in enumerate(events):
            self._state.apply(event)
            if isinstance(event, RunStarted):
                self._append(events[begin:place])
                self._go_back(event.iteration)
                begin = place
        self._append(events[begin:])

    def _append(self, events: Iterable[Event]) -> None:
        self._history.append([event for event in events if isinstance(event, Progress)])
        evaluations = [event for event in events if isinstance(event, Evaluated)]
        self._validation.append(evaluations)
        self._pictured += [event for event in evaluations if event.snapshot]

    def _go_back(self, iteration: int) -> None:
        """A resumed run does again what was lost since its last saved state."""
        self._history.cut("iteration", iteration)
        self._validation.cut("iteration", iteration)
        self._pictured = [event for event in self._pictured if event.iteration <= iteration]

    def frame(self, *, now: float | None = None) -> Frame:
        """The run as it is at a time, Unix seconds; by default the present."""
        now = time.time() if now is None else now
        state = self._newest
        status = status_of(self.path, state, now)
        if status == "running" and state.heartbeat and state.heartbeat.state == "paused":
            status = "paused"
        return Frame(
            **vars(state),
            path=self.path,
            now=now,
            status=status,
            history=self._history.copy(),
            validation=self._validation.copy(),
            pictured=tuple(self._pictured),
            share_read=1.0 if self.complete else self._reader.offset / max(1, self._size()),
            problem=_problem(self.path, state, status),
        )

    def summary(self, now: float) -> Summary:
        """The run in one line at a time, Unix seconds."""
        return summary_of(self.path, self._newest, now)

    @property
    def _newest(self) -> RunState:
        return self._state if self.complete else self._ends

    def _size(self) -> int:
        try:
            return os.stat(self.path / runs.EVENTS_FILE).st_size
        except OSError:
            return 0


def _problem(path: Path, state: RunState, status: str) -> str | None:
    """What is wrong with a run folder, in one line; None if it can be read."""
    log = path / runs.EVENTS_FILE
    if not path.is_dir():
        return "the run folder is gone: it was deleted or moved"
    for file in (path, log):
        if file.exists() and not os.access(file, os.R_OK):
            return f"cannot read {printable(str(file))}: it belongs to somebody else"
    if state.last_event is not None:
        return None
    if _is_newer(log):
        return "written by a newer version of lae; upgrade to read it"
    if log.exists() and not log.is_file():
        return "events.jsonl is not a file"
    if status == "not a run":
        return "this folder is not a run"
    return None if status == "starting" else "the trainer ended before its first event"


def _is_newer(log: Path) -> bool:
    """Whether a log begins in a schema that this version does not know."""
    try:
        if not log.is_file():
            return False
        with open(log, "rb") as file:
            return bool(json.loads(file.readline(1 << 14))["schema"] > SCHEMA_VERSION)
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return False
