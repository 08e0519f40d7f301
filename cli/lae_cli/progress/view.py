"""What the live display shows of a training: its state, its clock, and short histories."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lae_cli.terminal.snapshot import Snapshot, load_snapshot
from lae_fast.config import TrainConfig
from lae_fast.runs.events import Evaluated, Event, Progress, SnapshotTaken
from lae_fast.runs.plane import Points, Projector
from lae_fast.runs.state import RunState

HISTORY = 4096


@dataclass(frozen=True, eq=False)
class Picture:
    """A snapshot and its latents in the plane, (m, 2)."""

    snapshot: Snapshot
    when: str
    points: Points


class RunView(RunState):
    """A run's state, and what its display needs beside it. No drawing here.

    Args:
        config: of the run.
        clock: seconds that pass between two reports.
    """

    def __init__(self, config: TrainConfig, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(config.to_dict())
        self.train_losses: deque[float] = deque(maxlen=HISTORY)
        self.val_losses: deque[float] = deque(maxlen=HISTORY)
        self.accept_rates: deque[float] = deque(maxlen=HISTORY)
        self.picture: Picture | None = None
        self.note = ""
        self._project = Projector()
        self._clock = clock
        self._reported = clock()

    @property
    def run_name(self) -> str | None:
        """The name of the run's folder, once it is known."""
        return Path(self.started.run).name if self.started else None

    @property
    def run_dir(self) -> Path | None:
        """The run's folder, once it is known."""
        return Path(self.config["run_root"]) / self.run_name if self.run_name else None

    @property
    def elapsed_now(self) -> float:
        """Seconds of training, counted on between two reports."""
        return (self.elapsed or 0.0) + self._since_report

    @property
    def epoch_left_now(self) -> float | None:
        """Seconds left of the epoch, counted down between two reports; None when unknown."""
        return self._counted_down(self.epoch_seconds_left)

    @property
    def seconds_left_now(self) -> float | None:
        """The least seconds left, counted down between two reports; None when unknown."""
        return self._counted_down(self.least_seconds_left)

    @property
    def end_is_open(self) -> bool:
        """Whether the run goes on beyond `seconds_left_now` if its validation loss falls."""
        least, most = self.least_seconds_left, self.seconds_left
        return least is not None and (most is None or least < most)

    @property
    def share_now(self) -> float:
        """As of `share_after`, counted on between two reports."""
        return 1.0 if self.finished is not None else self.share_after(self.elapsed_now)

    def _counted_down(self, left: float | None) -> float | None:
        return None if left is None else max(0.0, left - self._since_report)

    @property
    def _since_report(self) -> float:
        return 0.0 if self.finished is not None else self._clock() - self._reported

    def apply(self, event: Event) -> None:
        super().apply(event)
        match event:
            case Progress():
                self._reported = self._clock()
                self.train_losses.append(event.train_loss)
                self.accept_rates.append(self.acceptance_of(event))
            case Evaluated():
                self._reported = self._clock()
                self.val_losses.append(event.val_loss)
                self._load_picture(event.snapshot, f"epoch {event.epoch}")
            case SnapshotTaken():
                self._reported = self._clock()
                when = f"epoch {event.epoch}, iteration {event.iteration}"
                self._load_picture(event.snapshot, when)

    def _load_picture(self, name: str | None, when: str) -> None:
        if name is None or self.run_dir is None:
            return
        snapshot = load_snapshot(self.run_dir / name)
        if snapshot is not None and len(snapshot.latents):
            # One assignment: the thread that draws must not see points of another snapshot.
            self.picture = Picture(snapshot, when, self._project(snapshot.latents))
