"""The results of a sweep: one row per setting, over its seeds."""

from __future__ import annotations

import collections
import csv
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TextIO

from lae_fast.experiments.outcome import Stat, stat
from lae_fast.sweeps.folder import PointState
from lae_fast.sweeps.spec import PLACES

FIGURES = ("best_val_loss", "accept_rate", "epochs", "elapsed")
"""Fields of `lae_fast.runs.Summary` that are averaged over seeds."""


@dataclass(frozen=True)
class Row:
    """One setting.

    Attributes:
        values: of the settings that vary, by name.
        figures: of `FIGURES`, over the seeds that are done; None where there is none.
        statuses: how many seeds are in which status.
        listed: whether the file still asks for it.
        val_quantity: what the validation loss is.
        kind: validation losses compare where this is equal.
    """

    values: dict[str, Any]
    figures: dict[str, Stat | None]
    statuses: dict[str, int]
    listed: bool
    val_quantity: str
    kind: tuple[object, ...]


def varied(states: Sequence[PointState], first: Sequence[str] = ()) -> list[str]:
    """The settings that tell the points apart, ``seed`` apart: ``first``, then any other."""
    found = dict.fromkeys(first)
    values = [state.point.config.to_dict() for state in states]
    for name in values[0] if values else ():
        if name not in (*PLACES, "seed") and len({repr(each[name]) for each in values}) > 1:
            found.setdefault(name)
    return list(found)


def rows(states: Sequence[PointState], names: Sequence[str]) -> list[Row]:
    """One row for each combination of the settings ``names``, the best validation loss first.

    Rows whose losses do not compare are not ranked among each other: they come in blocks.
    """
    groups: dict[tuple[Any, ...], list[PointState]] = collections.defaultdict(list)
    for state in states:
        groups[tuple(getattr(state.point.config, name) for name in names)].append(state)
    found = [_row(dict(zip(names, key, strict=True)), group) for key, group in groups.items()]
    kinds = list(dict.fromkeys(row.kind for row in found))
    return sorted(found, key=lambda row: (kinds.index(row.kind), _rank(row)))


def _row(values: dict[str, Any], group: Sequence[PointState]) -> Row:
    return Row(
        values,
        {name: _stat(group, name) for name in FIGURES},
        dict(collections.Counter(state.status for state in group)),
        any(state.point.listed for state in group),
        group[0].point.config.val_quantity,
        group[0].point.config.loss_kind,
    )


def _stat(group: Sequence[PointState], name: str) -> Stat | None:
    found = [getattr(state.summary, name) for state in group if state.done]
    finite = [value for value in found if value is not None and math.isfinite(value)]
    return stat(finite) if finite else None


def _rank(row: Row) -> float:
    loss = row.figures["best_val_loss"]
    return math.inf if loss is None else loss.mean


def records(states: Sequence[PointState], names: Sequence[str]) -> Iterator[dict[str, Any]]:
    """One flat record per point: name, varying settings, seed, status, figures."""
    for state in states:
        config, summary = state.point.config, state.summary
        yield {
            "point": state.point.name,
            **{name: getattr(config, name) for name in names},
            "seed": config.seed,
            "status": state.status,
            **{name: getattr(summary, name, None) for name in (*FIGURES, "best_epoch")},
            "val_quantity": config.val_quantity,
            "listed": state.point.listed,
            "error": state.error,
        }


def write_csv(states: Sequence[PointState], names: Sequence[str], out: TextIO) -> None:
    """Write one line per point; a figure that is not known is empty."""
    found = list(records(states, names))
    table = csv.DictWriter(out, list(found[0]) if found else ["point"], lineterminator="\n")
    table.writeheader()
    table.writerows(found)
