"""Numbers of a run as columns, one row an event; a long run's past is thinned to bounded memory."""

from __future__ import annotations

import mmap
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lae_cli.dashboard.following.series import LARGEST, Floats, extremes

MOST = 8192
"""Rows kept. Their memory is taken at once, so that what watches a run for days does not grow."""
RECENT = 2048
"""Rows that are never thinned: verdicts on how a run does are about these."""
PAST = 2048
"""About as many rows are left of the others."""

PROGRESS = (
    "time", "elapsed", "epoch", "iteration", "train_loss", "accept_rate", "accept_prob",
    "step_size", "grad_norm", "images_per_second", "steps_per_second", "memory_bytes",
)  # fmt: skip
LOUD = ("train_loss", "grad_norm", "accept_rate")
"""Of `PROGRESS`, those whose peaks tell most of what went wrong when."""
EVALUATED = (
    "time", "elapsed", "epoch", "iteration", "train_loss", "val_loss", "val_reconstruction",
    "val_prior", "accept_rate", "accept_prob", "step_size", "ess_per_step", "split_rhat", "best",
)  # fmt: skip


@dataclass(frozen=True)
class Table:
    """The first ``length`` rows of some columns; later growth does not change it.

    Attributes:
        events: how many there were, thinned out or not.
    """

    names: tuple[str, ...]
    values: Floats
    length: int
    events: int

    def __len__(self) -> int:
        return self.length

    def column(self, name: str) -> Floats:
        """One field, (length,); NaN where an event did not have it."""
        return self.values[self.names.index(name), : self.length]

    def before(self, moment: float) -> Table:
        """The rows up to a time, Unix seconds."""
        rows = int(np.searchsorted(self.column("time"), moment, side="right"))
        return Table(self.names, self.values, rows, rows)


class Columns:
    """Columns that are appended to. One thread appends; others keep the `Table` they were given.

    When `MOST` rows are full, those before the `RECENT` ones are thinned: along the iterations,
    the rows stay that hold the least and the largest values of the keys.

    Args:
        names: fields of the events, ``iteration`` among them.
        keys: those whose extremes outlive the thinning.
    """

    def __init__(self, names: tuple[str, ...], keys: tuple[str, ...]) -> None:
        self.names, self._keys = names, keys
        self._get = operator.attrgetter(*names)
        self._values = _blank(len(names))
        self._length = self._events = 0

    def append(self, events: Sequence[Any]) -> None:
        """Add a row an event."""
        # None becomes NaN; an integer that no double can hold becomes infinite.
        rows = [[_number(value) for value in self._get(event)] for event in events]
        self._events += len(rows)
        while rows:
            fit = rows[: MOST - self._length]
            end = self._length + len(fit)
            self._values[:, self._length : end] = np.asarray(fit).T
            self._length, rows = end, rows[len(fit) :]
            if end == MOST:
                self._thin()

    def cut(self, name: str, most: float) -> None:
        """Drop the rows in which a field is above ``most``."""
        keep = np.flatnonzero(~(self.table().column(name) > most))
        if len(keep) < self._length:
            self._events -= self._length - len(keep)
            self._keep(keep)

    def table(self) -> Table:
        """What there is now."""
        return Table(self.names, self._values, self._length, self._events)

    def _thin(self) -> None:
        past = self._length - RECENT
        x = self._values[self.names.index("iteration"), :past]
        kept = [np.array([0]), np.arange(past, self._length)]
        for key in self._keys:
            y = self._values[self.names.index(key), :past]
            rows = np.flatnonzero((np.abs(x) < LARGEST) & (np.abs(y) < LARGEST))
            rows = rows[np.argsort(x[rows], kind="stable")]
            if len(rows):
                low, high = x[rows[0]], x[rows[-1]]
                buckets = PAST // (2 * len(self._keys))
                kept.append(rows[extremes(x[rows], y[rows], low, high, buckets)])
        self._keep(np.unique(np.concatenate(kept)))

    def _keep(self, rows: NDArray[np.intp]) -> None:
        # A copy, because tables that were given out must not change.
        values = _blank(len(self.names))
        values[:, : len(rows)] = self._values[:, rows]
        self._values, self._length = values, len(rows)


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
