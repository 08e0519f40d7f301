"""The snapshots of a run in order, loaded once, and their latents in the plane."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lae_cli.dashboard.following.frame import Frame
from lae_cli.terminal.snapshot import Snapshot, load_snapshot, snapshot_path
from lae_fast.runs.events import Evaluated
from lae_fast.runs.plane import Points, Projector

PRINCIPAL = "PCA"


def chosen(frame: Frame, index: int | None) -> tuple[int, Evaluated] | None:
    """The evaluation looked at: its place among those with a snapshot, and itself."""
    events = frame.pictured
    if not events:
        return None
    place = len(events) - 1 if index is None else min(max(index, 0), len(events) - 1)
    return place, events[place]


def load(run: Path, event: Evaluated) -> Snapshot | None:
    """The snapshot that an evaluation names; None when there is none to be read."""
    return _load(run, event.snapshot or "", event.time)


@functools.lru_cache(maxsize=4)
def _load(run: Path, name: str, _written: float) -> Snapshot | None:
    path = snapshot_path(run, name)
    return None if path is None else load_snapshot(path)


@dataclass(frozen=True, eq=False)
class Plane:
    """Latents in the plane."""

    points: Points
    """(m, 2)."""
    origin: Points
    """Where z = 0 falls, (2,)."""
    caption: str


def axes_of(dim: int) -> list[str]:
    """The planes to choose from: principal components, or a pair of latents."""
    pairs = [f"z{i + 1},z{j + 1}" for i in range(dim) for j in range(i + 1, dim)]
    return pairs if dim <= 2 else [PRINCIPAL, *pairs]


def plane(snapshot: Snapshot, axes: str, projector: Projector) -> Plane:
    """Latents as two of them, or as their principal components."""
    dim = snapshot.latents.shape[1]
    if dim == 1:
        return Plane(projector(snapshot.latents), np.zeros(2), "z1; height means nothing")
    if axes == PRINCIPAL:
        points = projector(snapshot.latents)
        caption = f"PCA of {dim} latents, {projector.explained:.0%} of the variance"
        return Plane(points, projector.origin, caption)
    across, up = axes.split(",")
    pair = [int(name[1:]) - 1 for name in (across, up)]
    return Plane(snapshot.latents[:, pair], np.zeros(2), f"{across} across, {up} up")
