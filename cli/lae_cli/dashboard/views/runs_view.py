"""The table of runs: sorted, filtered, marked."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.coordinate import Coordinate
from textual.message import Message
from textual.widget import Widget
from textual.widgets import DataTable, Input, Static

from lae_cli.dashboard.base import Base, board_of
from lae_cli.dashboard.charts.exports import Rows
from lae_cli.dashboard.following.watcher import Watcher
from lae_cli.terminal import vocabulary
from lae_cli.terminal.console import plain
from lae_fast.config import has_chain
from lae_fast.runs import Summary


@dataclass(frozen=True)
class Column:
    """A column: its heading, the text of a cell, and what it sorts by."""

    heading: str
    cell: Callable[[Summary], str | Text]
    key: Callable[[Summary], Any]
    descending: bool = False


def _status(summary: Summary) -> Text:
    return plain(summary.status, vocabulary.status_colour(summary.status))


def _data(summary: Summary) -> str:
    return Path(summary.dataset).name if summary.dataset else "-"


def _age(summary: Summary) -> float | None:
    return None if summary.started is None else time.time() - summary.started


def _mh(summary: Summary) -> str:
    if not has_chain(summary.model):
        return "-"
    return "-" if summary.mh is None else ("yes" if summary.mh else "no")


def _steps(summary: Summary) -> str:
    steps = summary.steps if has_chain(summary.model) else None
    return "-" if steps is None else str(steps)


def _model(summary: Summary) -> str:
    return vocabulary.model_words(summary.model, summary.latent_dim, None, None)


COLUMNS = (
    Column("run", lambda s: s.name, lambda s: s.name),
    Column("status", _status, lambda s: s.status),
    Column("data", _data, _data),
    Column("model", _model, _model),
    Column("T", _steps, lambda s: s.steps),
    Column("MH", _mh, lambda s: s.mh),
    Column("epochs", lambda s: str(s.epochs or "-"), lambda s: s.epochs),
    Column("best val", lambda s: vocabulary.loss(s.best_val_loss), lambda s: s.best_val_loss),
    Column("accept", lambda s: vocabulary.rate(s.accept_rate), lambda s: s.accept_rate),
    Column("age", lambda s: vocabulary.age(_age(s)), _age),
)


class RunsView(Vertical):
    """All runs of the folder."""

    class Opened(Message):
        """A run was chosen."""

        def __init__(self, path: Path) -> None:
            super().__init__()
            self.path = path

    class Marked(Message):
        """A run's mark was set or taken away."""

        def __init__(self, path: Path) -> None:
            super().__init__()
            self.path = path

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space", "mark", "Mark"),
        Binding("o", "sort(1)", "Sort"),
        Binding("O", "reverse", "Reverse", show=False),
        Binding("slash", "filter", "Filter"),
        Binding("escape", "unfilter", "All", show=False),
    ]
    DEFAULT_CSS = """
    RunsView Input { height: 1; border: none; display: none; }
    RunsView.filtering Input { display: block; }
    RunsView #hint { height: 1; padding: 0 1; }
    RunsView DataTable { height: 1fr; }
    """

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self.column, self.descending = len(COLUMNS) - 1, False
        self._order: list[Path] = []
        self._cells: dict[Path, list[str | Text]] = {}

    def compose(self) -> ComposeResult:
        """Hint, filter, table."""
        yield Static(id="hint", markup=False)
        yield Input(placeholder="part of a name, status, data set or model", compact=True)
        table: DataTable[str | Text] = DataTable(cursor_type="row", zebra_stripes=False)
        yield table

    def on_mount(self) -> None:
        """The headings."""
        table = self._table()
        table.add_column(" ", key="mark", width=1)
        for column in COLUMNS:
            table.add_column(Text(column.heading), key=column.heading)

    def _table(self) -> DataTable[str | Text]:
        return self.query_one(DataTable)

    def focus_target(self) -> Widget | None:
        """The table takes the keys."""
        return self._table()

    def listed(self) -> list[Summary]:
        """The runs that the filter lets through, in order."""
        summaries = board_of(self).watcher.summaries
        words = self.query_one(Input).value.lower().split()
        found = [s for s in summaries if all(word in _haystack(s) for word in words)]
        return _sorted(found, COLUMNS[self.column], self.descending)

    def show(self, board: Base) -> None:
        """Bring the table up to date, cell by cell where the order is the same."""
        summaries = self.listed()
        cells = {s.path: _row(s, board) for s in summaries}
        order = [s.path for s in summaries]
        table = self._table()
        if order != self._order:
            self._refill(order, cells)
        else:
            for row, path in enumerate(order):
                for column, cell in enumerate(cells[path]):
                    if self._cells[path][column] != cell:
                        table.update_cell_at(Coordinate(row, column), cell, update_width=True)
        self._order, self._cells = order, cells
        self.query_one("#hint", Static).update(self._hint(len(order), board.watcher), layout=False)

    def _refill(self, order: list[Path], cells: dict[Path, list[str | Text]]) -> None:
        table, chosen = self._table(), self.chosen()
        table.clear()
        for path in order:
            table.add_row(*cells[path])
        if chosen in order:
            table.move_cursor(row=order.index(chosen))

    def _hint(self, count: int, watcher: Watcher) -> Text:
        arrow = "descending" if self.descending else "ascending"
        text = Text(no_wrap=True, overflow="ellipsis")
        text.append(f"{count} of {len(watcher.summaries)} runs", style="bold")
        text.append(f"  by {COLUMNS[self.column].heading}, {arrow}", style="dim")
        text.append("  enter opens, space marks, o sorts, / filters", style="dim")
        if watcher.problem:
            text = plain(watcher.problem, vocabulary.BAD)
        elif not watcher.summaries:
            text = Text("no runs here yet; `lae train` makes one", style="dim")
        return text

    def chosen(self) -> Path | None:
        """The run under the cursor."""
        row = self._table().cursor_row
        return self._order[row] if 0 <= row < len(self._order) else None

    @on(DataTable.RowSelected)
    def _open(self) -> None:
        if (path := self.chosen()) is not None:
            self.post_message(self.Opened(path))

    @on(DataTable.HeaderSelected)
    def _sort_by(self, event: DataTable.HeaderSelected) -> None:
        if event.column_index > 0:
            self._sort(event.column_index - 1)

    @on(Input.Changed)
    def _filtered(self) -> None:
        board_of(self).draw()

    @on(Input.Submitted)
    def _filter_done(self) -> None:
        self._table().focus()

    def action_mark(self) -> None:
        """Mark a run for overlays and comparison, or unmark it."""
        if (path := self.chosen()) is not None:
            self.post_message(self.Marked(path))

    def action_sort(self, step: int) -> None:
        """Sort by the next column."""
        self._sort((self.column + step) % len(COLUMNS))

    def action_reverse(self) -> None:
        """Turn the order around."""
        self.descending = not self.descending
        board_of(self).draw()

    def action_filter(self) -> None:
        """Type to filter."""
        self.add_class("filtering")
        self.query_one(Input).focus()

    def action_unfilter(self) -> None:
        """Show all runs again."""
        self.remove_class("filtering")
        self.query_one(Input).value = ""
        self._table().focus()

    def _sort(self, column: int) -> None:
        again = column == self.column
        self.descending = not self.descending if again else False
        self.column = column
        board_of(self).draw()

    def export(self) -> Rows:
        """The table as it is shown."""
        rows = [[str(cell) for cell in _row(s, board_of(self))[1:]] for s in self.listed()]
        return Rows("runs", [column.heading for column in COLUMNS], rows)


def _haystack(summary: Summary) -> str:
    return f"{summary.name} {summary.status} {summary.dataset} {_model(summary)}".lower()


def _sorted(summaries: list[Summary], column: Column, descending: bool) -> list[Summary]:
    """In order; runs that do not have the figure come last either way."""
    having = [s for s in summaries if _comparable(column.key(s))]
    missing = [s for s in summaries if not _comparable(column.key(s))]
    return [*sorted(having, key=column.key, reverse=descending), *missing]


def _comparable(value: Any) -> bool:
    return value is not None and value == value


def _row(summary: Summary, board: Base) -> list[str | Text]:
    sign = ">" if summary.path == board.opened else " "
    if summary.path in board.marked:
        sign = "●" if board.glyphs.unicode else "*"
    cells: list[str | Text] = [Text(sign, style=vocabulary.run_colour(summary.path.name))]
    for column in COLUMNS:
        cell = column.cell(summary)
        cells.append(cell if isinstance(cell, Text) else plain(cell))
    return cells
