"""A sweep's points and their results, as plain values and as a table."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from lae_cli.progress.training import say
from lae_cli.shared.results import Result
from lae_cli.terminal import vocabulary
from lae_fast.config.settings import flag_of
from lae_fast.experiments.outcome import Stat
from lae_fast.sweeps import table
from lae_fast.sweeps.folder import FAILED, PointState, SweepFolder
from lae_fast.sweeps.spec import Sweep

if TYPE_CHECKING:
    from lae_cli.terminal.tables import FittingTable


def list_points(states: Sequence[PointState]) -> Result:
    """The points and how far each is."""
    found = [
        (s.point.name, s.status if s.point.listed else f"{s.status}, no longer in the file")
        for s in states
    ]
    values = [{"point": name, "status": status} for name, status in found]
    return Result(values, [f"{name}  {status}" for name, status in found])


def results_of(sweep: Sweep, states: Sequence[PointState], names: Sequence[str]) -> dict[str, Any]:
    """The whole result as plain values; losses are in nats per image, times in seconds."""
    rows = [
        {
            **row.values,
            **{name: None if s is None else vars(s) for name, s in row.figures.items()},
            "val_quantity": row.val_quantity,
            "statuses": row.statuses,
            "listed": row.listed,
        }
        for row in table.rows(states, names)
    ]
    points = list(table.records(states, names))
    return {"sweep": sweep.name, "folder": str(sweep.root), "rows": rows, "points": points}


def draw_table(states: Sequence[PointState], names: Sequence[str]) -> list[FittingTable | str]:
    """One row per setting, the best first; figures are means over the seeds that are done."""
    from lae_cli.terminal.console import has_unicode
    from lae_cli.terminal.tables import FittingTable

    settings = [flag_of(name).removeprefix("--") for name in names]
    epochs = "epochs run" if "epochs" in names else "epochs"
    found = table.rows(states, names)
    loss = vocabulary.val_heading(row.val_quantity for row in found)
    drawn = FittingTable(left=(*settings, "status"), dispensable=("time",))
    for heading in (*settings, loss, "accept", epochs, "time", "status"):
        drawn.add_column(heading)
    between = " ± " if has_unicode(sys.stdout) else " +- "
    for row in found:
        figures = row.figures
        quantity = "" if loss != vocabulary.VAL_LOSS else f" {row.val_quantity}"
        cells = [
            *(_value(value) for value in row.values.values()),
            _spread(figures["best_val_loss"], vocabulary.loss, between, count=True) + quantity,
            _spread(figures["accept_rate"], vocabulary.rate, between),
            _mean(figures["epochs"], lambda value: f"{value:.4g}"),
            _mean(figures["elapsed"], vocabulary.duration),
            _statuses(row),
        ]
        drawn.add_row(*cells)
    notes = [] if all(row.listed for row in found) else ["* no longer in the file"]
    if len({row.kind for row in found}) > 1:
        notes.append("validation losses are ranked only among rows whose losses compare")
    return [drawn, *notes]


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _spread(
    found: Stat | None, text: Callable[[float], str], between: str, *, count: bool = False
) -> str:
    if found is None or found.sd is None:
        return _mean(found, text)
    spread = f"{text(found.mean)}{between}{text(found.sd)}"
    return f"{spread} ({found.n})" if count else spread


def _mean(found: Stat | None, text: Callable[[float], str]) -> str:
    return "-" if found is None else text(found.mean)


def _statuses(row: table.Row) -> str:
    alone = len(row.statuses) == 1
    words = [word if alone else f"{count} {word}" for word, count in row.statuses.items()]
    return ", ".join(words) + ("" if row.listed else " *")


def say_what_is_left(folder: SweepFolder, states: Sequence[PointState]) -> None:
    """Why points failed, and how many have not finished, on stderr."""
    for state in states:
        if state.status == FAILED and state.point.listed:
            say(f"{state.point.name} failed: {state.error} ({folder.log(state.point.name)})")
    left = [s for s in states if s.point.listed and not s.done and s.status != FAILED]
    if left:
        say(f"{len(left)} points are not done; run the same command again to continue")
