"""What a viewer knows of a run: events in, the figures to show out. No drawing here."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path

from lae_cli.terminal.scatter import Points, Projector
from lae_cli.terminal.snapshot import Snapshot, load_snapshot
from lae_fast.config import TrainConfig
from lae_fast.runs.events import Evaluated, Event, Message, Progress, RunFinished, RunStarted

HISTORY = 4096


@dataclass(frozen=True, eq=False)
class Picture:
    """A snapshot and its latents in the plane, (m, 2)."""

    snapshot: Snapshot
    points: Points


class RunView:
    """The latest of everything, and bounded histories for charts."""

    def __init__(self, config: TrainConfig) -> None:
        self.config = config
        self.started: RunStarted | None = None
        self.progress: Progress | None = None
        self.evaluated: Evaluated | None = None
        self.best: Evaluated | None = None
        self.finished: RunFinished | None = None
        self.messages: deque[Message] = deque(maxlen=50)
        self.train_losses: deque[float] = deque(maxlen=HISTORY)
        self.val_losses: deque[float] = deque(maxlen=HISTORY)
        self.accept_rates: deque[float] = deque(maxlen=HISTORY)
        self.picture: Picture | None = None
        self.note = ""
        self._project = Projector()
        self._began = time.monotonic()
        self._progress_at = self._began

    @property
    def run_name(self) -> str | None:
        """The name of the run's folder, once it is known."""
        return Path(self.started.run).name if self.started else None

    @property
    def run_dir(self) -> Path | None:
        """The run's folder, once it is known."""
        return Path(self.config.run_root) / self.run_name if self.run_name else None

    @property
    def elapsed(self) -> float:
        """Seconds of training, counted on between heartbeats."""
        if self.finished is not None:
            return self.finished.elapsed
        if self.progress is not None:
            return self.progress.elapsed + (time.monotonic() - self._progress_at)
        return time.monotonic() - self._began

    @property
    def eta(self) -> float | None:
        """Seconds left if no epoch is spared, and at most what ``--max-time`` leaves."""
        left = self.progress.eta if self.progress is not None else None
        if left is not None:
            left = max(0.0, left - (time.monotonic() - self._progress_at))
        if self.config.max_time is not None:
            limit = max(0.0, self.config.max_time - self.elapsed)
            left = limit if left is None else min(left, limit)
        return left

    @property
    def share(self) -> float:
        """The part of the run that is done, by epochs or by time, whichever ends it sooner."""
        if self.finished is not None:
            return 1.0
        if self.started is None or self.progress is None:
            return 0.0
        total = self.started.max_epochs * self.started.iterations_per_epoch
        share = self.progress.iteration / max(1, total)
        if self.config.max_time is not None:
            share = max(share, self.elapsed / self.config.max_time)
        return min(1.0, share)

    @property
    def epoch_share(self) -> float:
        """The part of the present epoch that is done."""
        if self.started is None or self.progress is None:
            return 0.0
        each = max(1, self.started.iterations_per_epoch)
        done = self.progress.iteration - (self.progress.epoch - 1) * each
        return min(1.0, max(0.0, done / each))

    def apply(self, event: Event) -> None:
        """Take in one event."""
        match event:
            case RunStarted():
                self.started = event
            case Progress():
                self.progress, self._progress_at = event, time.monotonic()
                self.train_losses.append(event.train_loss)
                self.accept_rates.append(event.accept_rate if self.config.mh else event.accept_prob)
            case Evaluated():
                self._evaluated(event)
            case Message():
                self.messages.append(event)
            case RunFinished():
                self.finished = event

    def _evaluated(self, event: Evaluated) -> None:
        self.evaluated = event
        self.val_losses.append(event.val_loss)
        if event.best:
            self.best = event
        if event.snapshot is None or self.run_dir is None:
            return
        snapshot = load_snapshot(self.run_dir / event.snapshot)
        if snapshot is not None and len(snapshot.latents):
            # One assignment: the thread that draws must not see points of another snapshot.
            self.picture = Picture(snapshot, self._project(snapshot.latents))
