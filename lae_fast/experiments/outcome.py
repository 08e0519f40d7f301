"""What a study found: tables of means and spreads over seeds, and pictures. Torch-free."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from lae_fast.runs.files import write_atomically

NOT_RUN = "not run"


@dataclass(frozen=True)
class Stat:
    """Mean and standard deviation over n seeds; ``sd`` is None for one seed."""

    mean: float
    sd: float | None
    n: int


Cell = Stat | float | int | str | None
"""None if the source prints no such figure, or if the row was not run."""


def stat(values: Iterable[float]) -> Stat:
    """Mean and standard deviation of values, one per seed."""
    found = list(values)
    mean = math.fsum(found) / len(found)
    square = math.fsum((value - mean) ** 2 for value in found)
    return Stat(mean, math.sqrt(square / (len(found) - 1)) if len(found) > 1 else None, len(found))


def over_seeds(found: Iterable[Mapping[str, float]]) -> dict[str, Cell]:
    """The same figures of several seeds as one `Stat` per figure; empty without seeds."""
    values = list(found)
    return {name: stat(each[name] for each in values) for name in (values or [{}])[0]}


@dataclass(frozen=True)
class ResultTable:
    """Rows of cells.

    Attributes:
        title: of the table.
        columns: heading -> format of its numbers (such as ``.2f``).
        rows: one cell per column.
        note: a sentence or more below it.
    """

    title: str
    columns: dict[str, str]
    rows: list[list[Cell]]
    note: str = ""


def make_row(
    columns: Iterable[str], name: str, printed: Mapping[str, Cell], ours: Mapping[str, Cell]
) -> list[Cell]:
    """A row: its name, then figures in the order of the columns.

    Args:
        columns: headings of the table; the first is that of the names.
        name: of the row.
        printed: heading -> figure that the source prints, None where it prints none.
        ours: heading -> our figure; empty if the row was not run.
    """
    _, *headings = columns
    if not ours:
        ours = {next(heading for heading in headings if heading not in printed): NOT_RUN}
    cells: dict[str, Cell] = {**dict.fromkeys(headings), **printed, **ours}
    if len(cells) > len(headings):
        raise ValueError(f"no such columns: {', '.join(list(cells)[len(headings) :])}")
    return [name, *cells.values()]


@dataclass(frozen=True)
class Outcome:
    """Result of a study.

    Attributes:
        name, title: of the study.
        setting: what was run, in a sentence.
        tables: the figures.
        pictures: file, relative to the page of results -> caption.
        quick: whether the study ran in its quick form.
        seconds: how long it took, without models that had been trained before.
        complete: whether every model was there and fully trained.
        partial: models that were not yet fully trained, each with its epoch. They were measured
            with their best weights so far.
        missing: models that could not be measured.
        seeds: how many the study was asked to run.
    """

    name: str
    title: str
    setting: str
    tables: list[ResultTable] = field(default_factory=list)
    pictures: dict[str, str] = field(default_factory=dict)
    quick: bool = False
    seconds: float = 0.0
    complete: bool = True
    partial: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    seeds: int = 1

    @property
    def described(self) -> str:
        """The setting, and the models that were not yet fully trained."""
        if not self.partial:
            return self.setting
        return f"{self.setting} Not yet finished, at its best so far: {', '.join(self.partial)}."

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def filled(outcome: Outcome, earlier: Outcome) -> Outcome:
    """The outcome, with the figures and pictures that it lacks taken from an earlier one.

    Run folders are large: they are deleted, or stay on another machine. Their figures stay.
    """
    known = {table.title: table for table in earlier.tables}
    tables = [_fill(table, known.get(table.title, table)) for table in outcome.tables]
    lacking = any(cell == NOT_RUN for table in tables for row in table.rows for cell in row)
    still = [name for name in earlier.partial if name.rsplit(" (", 1)[0] in outcome.missing]
    partial = sorted({*outcome.partial, *still})
    return replace(
        outcome,
        tables=tables,
        pictures=earlier.pictures | outcome.pictures,
        complete=outcome.complete or not (lacking or partial),
        partial=partial,
    )


def _fill(table: ResultTable, earlier: ResultTable) -> ResultTable:
    """The table, with earlier rows for those not run; unchanged if the columns differ."""
    if list(table.columns) != list(earlier.columns):
        return table
    known = {str(row[0]): row for row in earlier.rows}
    rows = [known.get(str(row[0]), row) if NOT_RUN in row else row for row in table.rows]
    return replace(table, rows=rows)


def save(outcome: Outcome, path: Path) -> None:
    """Write an outcome as JSON, all or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(outcome.to_dict(), indent=1) + "\n")


def load(path: Path) -> Outcome | None:
    """Read what `save` wrote; None if there is no such file, or it cannot be read."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        values["tables"] = [_table(table) for table in values["tables"]]
        return Outcome(**values)
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _table(values: dict[str, Any]) -> ResultTable:
    rows = [[Stat(**c) if isinstance(c, dict) else c for c in row] for row in values["rows"]]
    return ResultTable(values["title"], values["columns"], rows, values["note"])


def cell_text(cell: Cell, form: str) -> str:
    """A cell as text: numbers in the column's format, a spread where there is one."""
    if cell is None:
        return "-"
    if isinstance(cell, str):
        return cell
    if not isinstance(cell, Stat):
        return format(cell, form)
    text = format(cell.mean, form)
    return text if cell.sd is None else f"{text} ± {format(cell.sd, form)}"


def texts(table: ResultTable) -> list[Sequence[str]]:
    """Headings and rows of a table as text."""
    forms = list(table.columns.values())
    rows = [[cell_text(c, f) for c, f in zip(row, forms, strict=True)] for row in table.rows]
    return [list(table.columns), *rows]
