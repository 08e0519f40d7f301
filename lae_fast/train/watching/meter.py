"""Running means of a training, turned into `lae_fast.runs.events.Progress`."""

from __future__ import annotations

import dataclasses
import math
import resource
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from lae_fast.runs.events import Progress
from lae_fast.train.trainers.base import IterationStats

EVERY = 0.5
"""Seconds between two progress events (the heartbeat is due every 2)."""


@dataclass
class Means:
    """Sums of `IterationStats`, for means over images and iterations."""

    images: int = 0
    iterations: int = 0
    loss: float = 0.0
    accept_rate: float = 0.0
    accept_prob: float = 0.0
    grad_norm: float = 0.0

    def add(self, stats: IterationStats) -> None:
        """Count one iteration; its loss weighs by its images."""
        self.images += stats.images
        self.iterations += 1
        self.loss += stats.loss * stats.images
        self.accept_rate += stats.accept_rate
        self.accept_prob += stats.accept_prob
        self.grad_norm += stats.grad_norm

    def of(self, name: str) -> float:
        """Mean of a field; NaN when nothing was counted."""
        count = self.images if name == "loss" else self.iterations
        return float(getattr(self, name)) / count if count else math.nan


@dataclass
class Meter:
    """Counts iterations; says when a progress event is due and makes it.

    Attributes:
        steps: T.
        total_iterations: of the whole run if no epoch is cut short.
    """

    steps: int
    total_iterations: int
    iteration: int = 0
    epoch: int = 0
    images: int = 0
    recent: Means = field(default_factory=Means)
    over_epoch: Means = field(default_factory=Means)
    started: float = field(default_factory=time.monotonic)
    training_seconds: float = 0.0
    _recent_seconds: float = 0.0
    _clocks: tuple[float, float] = field(
        default_factory=lambda: (time.monotonic(), time.process_time())
    )

    def start_epoch(self) -> None:
        """Begin the next epoch's means."""
        self.epoch += 1
        self.over_epoch = Means()

    def add(self, stats: IterationStats, seconds: float) -> None:
        """Count one iteration that took ``seconds``."""
        self.iteration += 1
        self.images += stats.images
        self.training_seconds += seconds
        self._recent_seconds += seconds
        self.recent.add(stats)
        self.over_epoch.add(stats)

    def facts(self) -> dict[str, Any]:
        """Everything that changes, as plain values."""
        return {
            "iteration": self.iteration,
            "epoch": self.epoch,
            "images": self.images,
            "over_epoch": dataclasses.asdict(self.over_epoch),
            "training_seconds": self.training_seconds,
            "elapsed": self.elapsed,
        }

    def restore(self, facts: Mapping[str, Any]) -> None:
        """Put back what `facts` gave; the clock goes on from there."""
        self.iteration, self.epoch = facts["iteration"], facts["epoch"]
        self.images, self.training_seconds = facts["images"], facts["training_seconds"]
        self.over_epoch = Means(**facts["over_epoch"])
        self.started = time.monotonic() - facts["elapsed"]

    def due(self) -> bool:
        """Whether it is time for a progress event."""
        return self._recent_seconds >= EVERY

    @property
    def elapsed(self) -> float:
        """Seconds since the run began."""
        return time.monotonic() - self.started

    @property
    def images_per_second(self) -> float:
        """Over the whole run, time of iterations alone."""
        return self.images / self.training_seconds if self.training_seconds else math.nan

    def progress(self, step_size: float) -> Progress:
        """The event for what was counted since the last one; starts counting anew."""
        recent, seconds = self.recent, max(self._recent_seconds, 1e-9)
        self.recent, self._recent_seconds = Means(), 0.0
        left = self.total_iterations - self.iteration
        return Progress(
            time=time.time(),
            epoch=self.epoch,
            iteration=self.iteration,
            train_loss=recent.of("loss"),
            accept_rate=recent.of("accept_rate"),
            accept_prob=recent.of("accept_prob"),
            step_size=step_size,
            grad_norm=recent.of("grad_norm"),
            images_per_second=recent.images / seconds,
            steps_per_second=self.steps * recent.iterations / seconds,
            seconds_left=left * self.elapsed / self.iteration if self.iteration else None,
            elapsed=self.elapsed,
            memory_bytes=peak_memory_bytes(),
            cpu_cores=self._cpu_cores(),
        )

    def _cpu_cores(self) -> float | None:
        """Cores kept busy since the last call."""
        before, self._clocks = self._clocks, (time.monotonic(), time.process_time())
        passed, worked = (now - then for now, then in zip(self._clocks, before, strict=True))
        return worked / passed if passed > 0 else None


def peak_memory_bytes() -> int:
    """Peak resident memory of this process, or peak allocated on the GPU when one is used."""
    if torch.cuda.is_available() and torch.cuda.memory_allocated():
        return int(torch.cuda.max_memory_allocated())
    try:
        # getrusage inherits the parent's peak through fork; this one starts anew with the program.
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        return int(status.split("VmHWM:")[1].split()[0]) * 1024
    except (OSError, IndexError):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
