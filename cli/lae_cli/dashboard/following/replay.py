"""A finished run seen again: a clock that runs through its events."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lae_cli.dashboard.following.columns import Columns
from lae_cli.dashboard.following.frame import Frame
from lae_cli.terminal import vocabulary
from lae_cli.terminal.glyphs import Glyphs
from lae_fast.runs.events import Evaluated, Progress

SPEEDS = (1, 2, 5, 10, 30, 100, 300, 1000, 3000, 10000, 30000, 100000)
"""Seconds of training per second."""
WHOLE = 30.0
"""Seconds that the whole run should take at the speed it begins with."""


@dataclass
class Replay:
    """Where a replay has got to. Times are Unix seconds of the run."""

    begin: float
    end: float
    at: float
    speed: int
    playing: bool = True

    @classmethod
    def of(cls, frame: Frame) -> Replay | None:
        """From a run's first event to its last; None if there is nothing between them."""
        times = frame.history.column("time")
        if len(times) < 2:
            return None
        begin = frame.started.time if frame.started else float(times[0])
        end = max(float(times[-1]), frame.last_event or 0.0)
        wish = (end - begin) / WHOLE
        return cls(begin, end, begin, min(SPEEDS, key=lambda speed: abs(speed - wish)))

    def advance(self, seconds: float) -> None:
        """Let time pass; it stops at the end."""
        if self.playing:
            self.at = min(self.end, self.at + seconds * self.speed)
            self.playing = self.at < self.end

    def toggle(self) -> None:
        """Play or hold; at the end, from the beginning."""
        self.at = self.begin if self.at >= self.end else self.at
        self.playing = not self.playing

    def faster(self, steps: int) -> None:
        """The next speed, or the one before."""
        place = min(max(SPEEDS.index(self.speed) + steps, 0), len(SPEEDS) - 1)
        self.speed = SPEEDS[place]

    def skip(self, share: float) -> None:
        """Forward or back by a share of the whole."""
        self.at = min(self.end, max(self.begin, self.at + share * (self.end - self.begin)))

    def words(self, glyphs: Glyphs) -> str:
        """One phrase for the status line."""
        sign = ("▶" if glyphs.unicode else ">") if self.playing else "held"
        at = vocabulary.duration(self.at - self.begin)
        return f"replay {sign} {self.speed}x  {at} of {vocabulary.duration(self.end - self.begin)}"

    def frame(self, frame: Frame) -> Frame:
        """The run as it was then; its events are made up from the columns."""
        history, validation = frame.history.before(self.at), frame.validation.before(self.at)
        best = np.flatnonzero(validation.column("best"))
        checked = np.flatnonzero(~np.isnan(validation.column("ess_per_step")))
        progress = _progress(history) if len(history) else None
        finished = frame.finished if frame.finished and frame.finished.time <= self.at else None
        return replace(
            frame,
            now=self.at,
            status=finished.status if finished else "running",
            progress=progress,
            evaluated=_evaluated(validation, -1) if len(validation) else None,
            best=_evaluated(validation, int(best[-1])) if len(best) else None,
            checked=_evaluated(validation, int(checked[-1])) if len(checked) else None,
            finished=finished,
            heartbeat=None,
            notes=tuple(note for note in frame.notes if note.time <= self.at),
            elapsed=finished.elapsed if finished else (progress.elapsed if progress else None),
            history=history,
            validation=validation,
            pictured=tuple(event for event in frame.pictured if event.time <= self.at),
            replaying=True,
        )


def _progress(history: Columns) -> Progress:
    values = _values(history, -1)
    return Progress(**values | {"memory_bytes": _whole(values["memory_bytes"]) or None})


def _evaluated(validation: Columns, place: int) -> Evaluated:
    values = _values(validation, place)
    checks = {
        name: None if math.isnan(values[name]) else values[name]
        for name in ("ess_per_step", "split_rhat")
    }
    return Evaluated(**values | checks | {"best": bool(values["best"]), "latent_std": ()})


def _values(columns: Columns, place: int) -> dict[str, Any]:
    row: dict[str, Any] = columns.row(place)
    return row | {name: _whole(row[name]) for name in ("epoch", "iteration")}


def _whole(value: float) -> int:
    return int(value) if math.isfinite(value) else 0
