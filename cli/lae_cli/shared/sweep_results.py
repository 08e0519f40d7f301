"""A sweep's points and results on stdout."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import click

from lae_cli.progress.training import say
from lae_cli.shared.results import json_line
from lae_cli.terminal import vocabulary
from lae_fast.errors import printable
from lae_fast.experiments.outcome import Stat
from lae_fast.sweeps import table
from lae_fast.sweeps.folder import FAILED, PointState, SweepFolder
from lae_fast.sweeps.spec import Sweep


def print_points(states: Sequence[PointState], *, as_json: bool) -> None:
    """The points and how far they are, one a line."""
    if as_json:
        points = [{"point": state.point.name, "status": _status(state)} for state in states]
        click.echo(json_line(points))
        return
    for state in states:
        click.echo(f"{state.point.name}  {_status(state)}")


def _status(state: PointState) -> str:
    return state.status if state.point.listed else f"{state.status}, no longer in the file"


def result(sweep: Sweep, states: Sequence[PointState], names: Sequence[str]) -> dict[str, Any]:
    """The whole result as plain values; losses are nats an image, times seconds."""
    rows = [
        {
            **row.values,
            **{name: None if s is None else vars(s) for name, s in row.figures.items()},
            "statuses": row.statuses,
            "listed": row.listed,
        }
        for row in table.rows(states, names)
    ]
    points = list(table.records(states, names))
    return {"sweep": sweep.name, "folder": str(sweep.root), "rows": rows, "points": points}


def print_table(states: Sequence[PointState], names: Sequence[str]) -> None:
    """One row a setting, the best first; figures are means over the seeds that are done."""
    from rich import box
    from rich.table import Table

    from lae_cli.terminal.console import has_unicode, make_console, plain

    unicode = has_unicode(sys.stdout)
    drawn = Table(
        box=box.SIMPLE_HEAD if unicode else box.ASCII2, pad_edge=False, collapse_padding=True
    )
    for name in names:
        drawn.add_column(name.replace("_", "-"), overflow="fold")
    epochs = "epochs run" if "epochs" in names else "epochs"
    for heading in (vocabulary.VAL_LOSS, "accept", epochs, "time"):
        drawn.add_column(heading, justify="right", no_wrap=True)
    drawn.add_column("status", no_wrap=True)
    between = " ± " if unicode else " +- "
    found = table.rows(states, names)
    for row in found:
        figures = row.figures
        cells = [
            *(_value(value) for value in row.values.values()),
            _spread(figures["best_val_loss"], vocabulary.loss, between, count=True),
            _spread(figures["accept_rate"], vocabulary.rate, between),
            _mean(figures["epochs"], lambda value: f"{value:.4g}"),
            _mean(figures["elapsed"], vocabulary.duration),
            _statuses(row),
        ]
        drawn.add_row(*(plain(cell) for cell in cells))
    console = make_console()
    if not console.is_terminal:
        console.width = max(160, console.width)  # a pipe has no edge to cut a cell at
    console.print(drawn)
    if not all(row.listed for row in found):
        click.echo("* no longer in the file")


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _spread(found: Stat | None, show: Any, between: str, *, count: bool = False) -> str:
    if found is None:
        return "-"
    text = str(show(found.mean))
    if found.sd is not None:
        text += between + str(show(found.sd)) + (f" ({found.n})" if count else "")
    return text


def _mean(found: Stat | None, show: Any) -> str:
    return "-" if found is None else str(show(found.mean))


def _statuses(row: table.Row) -> str:
    alone = len(row.statuses) == 1
    words = [word if alone else f"{count} {word}" for word, count in row.statuses.items()]
    return ", ".join(words) + ("" if row.listed else " *")


def say_what_is_left(folder: SweepFolder, states: Sequence[PointState]) -> None:
    """Why points failed, and how many did not come to an end."""
    for state in states:
        if state.status == FAILED and state.point.listed:
            log = printable(str(folder.log(state.point.name)))
            say(f"{state.point.name} failed: {state.error} ({log})")
    left = [s for s in states if s.point.listed and not s.done and s.status != FAILED]
    if left:
        say(f"{len(left)} points are not done; run the same command again to go on")
