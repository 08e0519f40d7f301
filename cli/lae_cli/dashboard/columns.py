"""Numbers of a run as columns that grow: one row an event, one float64 array a field."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

PROGRESS = (
    "time", "elapsed", "epoch", "iteration", "train_loss", "accept_rate", "accept_prob",
    "step_size", "grad_norm", "images_per_second", "steps_per_second", "memory_bytes",
)  # fmt: skip
EVALUATED = (
    "time", "elapsed", "epoch", "iteration", "train_loss", "val_loss", "val_reconstruction",
    "val_prior", "accept_rate", "accept_prob", "step_size", "ess_per_step", "split_rhat", "best",
)  # fmt: skip


@dataclass(frozen=True)
class Table:
    """The first ``length`` rows of some columns; later growth does not change it."""

    names: tuple[str, ...]
    values: Floats
    length: int

    def __len__(self) -> int:
        return self.length

    def column(self, name: str) -> Floats:
        """One field, (length,); NaN where an event did not have it."""
        return self.values[self.names.index(name), : self.length]

    def before(self, moment: float) -> Table:
        """The rows up to a time, Unix seconds."""
        rows = int(np.searchsorted(self.column("time"), moment, side="right"))
        return Table(self.names, self.values, rows)


class Columns:
    """Append-only columns. One thread appends; others keep the `Table` they were given."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names
        self._get = operator.attrgetter(*names)
        self._values = np.empty((len(names), 256))
        self._length = 0

    def append(self, events: Sequence[Any]) -> None:
        """Add a row an event."""
        if not events:
            return
        # None becomes NaN; an integer that no double can hold becomes infinite.
        rows = [[_number(value) for value in self._get(event)] for event in events]
        end = self._length + len(rows)
        if end > self._values.shape[1]:
            grown = np.empty((len(self.names), max(end, 2 * self._values.shape[1], 256)))
            grown[:, : self._length] = self._values[:, : self._length]
            self._values = grown
        self._values[:, self._length : end] = np.asarray(rows).T
        self._length = end

    def cut(self, name: str, most: float) -> None:
        """Drop the rows in which a field is above ``most``."""
        keep = ~(self._values[self.names.index(name), : self._length] > most)
        if not keep.all():
            # A copy, because tables that were given out must not change.
            self._values = self._values[:, : self._length][:, keep].copy()
            self._length = self._values.shape[1]

    def table(self) -> Table:
        """What there is now."""
        return Table(self.names, self._values, self._length)


def _number(value: Any) -> float:
    try:
        return float("nan") if value is None else float(value)
    except OverflowError:
        return float("inf")
