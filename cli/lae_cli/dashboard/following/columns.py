"""Numbers of a run as columns, one row per event; a long history is thinned to bounded memory."""

from __future__ import annotations

import copy
import mmap
import operator
from collections.abc import Sequence
from dataclasses import fields
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from lae_fast.runs.events import Evaluated, Progress

Floats = NDArray[np.float64]

LARGEST = 1e100
"""Absolute values above this count as infinite: their differences overflow on a chart."""
MOST = 8192
"""Rows kept. Their memory is taken at once, so that what watches a run for days does not grow."""
RECENT = 2048
"""Rows that are never thinned: findings about a run are about these."""
PAST = 2048
"""About as many rows are left of the others."""

PROGRESS = tuple(field.name for field in fields(Progress) if field.name != "seconds_left")
"""What is kept of a `Progress`: all but an estimate that only the newest event needs."""
LOUD = ("train_loss", "grad_norm", "accept_rate")
"""Of `PROGRESS`, those whose peaks tell most of what went wrong when."""
EVALUATED = tuple(
    field.name for field in fields(Evaluated) if field.name not in ("latent_std", "snapshot")
)
"""What is kept of an `Evaluated`: all its numbers."""


class Columns:
    """Columns that grow by rows. Only the original grows: a copy keeps the rows it has.

    When `MOST` rows are full, those before the `RECENT` ones are thinned: along the iterations,
    the rows stay that hold the least and the largest values of the keys.

    Args:
        names: fields of the events, ``iteration`` among them.
        keys: those whose extremes outlive the thinning.

    Attributes:
        events: how many there were, thinned out or not.
    """

    def __init__(self, names: tuple[str, ...], keys: tuple[str, ...]) -> None:
        self.names, self._keys = names, keys
        self._get = operator.attrgetter(*names)
        self._values = _blank(len(names))
        self._length = self.events = 0

    def __len__(self) -> int:
        return self._length

    def column(self, name: str) -> Floats:
        """One field, ``(rows,)``; NaN where an event did not have it."""
        return self._values[self.names.index(name), : self._length]

    def append(self, events: Sequence[Any]) -> None:
        """Add a row per event."""
        # None becomes NaN; an integer that no double can hold becomes infinite.
        rows = [[_number(value) for value in self._get(event)] for event in events]
        self.events += len(rows)
        while rows:
            fit = rows[: MOST - self._length]
            end = self._length + len(fit)
            self._values[:, self._length : end] = np.asarray(fit).T
            self._length, rows = end, rows[len(fit) :]
            if end == MOST:
                self._thin()

    def cut(self, name: str, most: float) -> None:
        """Drop the rows in which a field is above ``most``."""
        keep = np.flatnonzero(~(self.column(name) > most))
        if len(keep) < self._length:
            self.events -= self._length - len(keep)
            self._keep(keep)

    def copy(self) -> Self:
        """The rows there are now, whatever is appended later."""
        return copy.copy(self)

    def before(self, moment: float) -> Self:
        """The rows up to a time, Unix seconds."""
        earlier = self.copy()
        rows = int(np.searchsorted(self.column("time"), moment, side="right"))
        earlier._length = earlier.events = rows
        return earlier

    def row(self, place: int) -> dict[str, float]:
        """The fields of one row."""
        return dict(
            zip(self.names, self._values[:, : self._length][:, place].tolist(), strict=True)
        )

    def _thin(self) -> None:
        past = self._length - RECENT
        x = self.column("iteration")[:past]
        kept = [np.array([0]), np.arange(past, self._length)]
        for key in self._keys:
            y = self.column(key)[:past]
            rows = np.flatnonzero((np.abs(x) < LARGEST) & (np.abs(y) < LARGEST))
            rows = rows[np.argsort(x[rows], kind="stable")]
            if len(rows):
                low, high = x[rows[0]], x[rows[-1]]
                buckets = PAST // (2 * len(self._keys))
                kept.append(rows[extremes(x[rows], y[rows], low, high, buckets)])
        self._keep(np.unique(np.concatenate(kept)))

    def _keep(self, rows: NDArray[np.intp]) -> None:
        # Into new memory, because copies of these columns must not change.
        values = _blank(len(self.names))
        values[:, : len(rows)] = self._values[:, rows]
        self._values, self._length = values, len(rows)


def extremes(x: Floats, y: Floats, low: float, high: float, buckets: int) -> NDArray[np.intp]:
    """Where the extremes of y are in each bucket of [low, high], both ends included, in order.

    x is sorted. At most two places per bucket, and one beyond each end.
    """
    if len(x) <= 2 * buckets or not high > low:
        return np.arange(len(x))
    bucket = np.clip(((x - low) / (high - low) * buckets).astype(np.int64), -1, buckets)
    starts = np.flatnonzero(np.diff(bucket, prepend=bucket[0] - 1))
    order = np.lexsort((y, bucket))  # within a bucket by value: extremes are first and last
    ends = np.append(starts[1:], len(x)) - 1
    return np.unique(np.concatenate([order[starts], order[ends], [0, len(x) - 1]]))


def _blank(fields: int) -> Floats:
    """Room for `MOST` rows, ``(fields, MOST)``.

    A map of its own goes back to the system whole; on the heap, every resumed run would leave a
    hole of its size.
    """
    room = mmap.mmap(-1, fields * MOST * np.dtype(np.float64).itemsize)
    values = np.frombuffer(room, np.float64).reshape(fields, MOST)
    values[:] = np.nan
    return values


def _number(value: Any) -> float:
    try:
        return float("nan") if value is None else float(value)
    except OverflowError:
        return float("inf")
