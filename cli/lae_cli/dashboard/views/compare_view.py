"""Two or more runs side by side: what they came to, and which settings differ."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from string import ascii_uppercase
from typing import Any, ClassVar

from rich.cells import cell_len
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widget import Widget
from textual.widgets import DataTable, Static

from lae_cli.dashboard.base import Base, board_of
from lae_cli.dashboard.charts.exports import Rows
from lae_cli.dashboard.following.frame import Frame
from lae_cli.terminal import vocabulary
from lae_cli.terminal.console import plain
from lae_cli.terminal.flow import flow
from lae_fast.config import TrainConfig

_RESULTS: tuple[tuple[str, Callable[[Frame], str]], ...] = (
    ("status", lambda f: f.status),
    ("best val loss", lambda f: vocabulary.loss(f.best_val_loss)),
    ("best epoch", lambda f: str(f.best_epoch or "-")),
    ("epochs", lambda f: str(f.epochs)),
    (vocabulary.TRAIN_LOSS, lambda f: vocabulary.loss(f.result("train_loss"))),
    (vocabulary.ACCEPTANCE, lambda f: vocabulary.rate(f.result("accept_rate"))),
    (vocabulary.STEP_SIZE, lambda f: vocabulary.scientific(f.result("step_size"))),
    (vocabulary.IMAGE_RATE, lambda f: vocabulary.per_second(f.result("images_per_second"))),
    ("time", lambda f: vocabulary.duration(f.elapsed)),
)

CELL_PADDING = 2
"""Characters beside the text of a cell."""


def results(frames: Sequence[Frame]) -> list[list[str]]:
    """A row per result: its name and each run's value."""
    return [[name, *(value(frame) for frame in frames)] for name, value in _RESULTS]


def settings(frames: Sequence[Frame], *, every: bool) -> list[list[str]]:
    """A row per setting that differs (or every one): its name and each run's value."""
    known = list(TrainConfig.__dataclass_fields__)
    names = dict.fromkeys([*known, *(str(key) for frame in frames for key in frame.config)])
    names.pop("name", None)  # it heads the column
    rows = []
    for name in names:
        values = [_value(frame.config, name) for frame in frames]
        if every or len(set(values)) > 1:
            rows.append([name, *values])
    return rows


def _value(config: Mapping[str, Any], name: str) -> str:
    return str(config[name]) if name in config else "-"


def across(rows: Sequence[Sequence[str]], heads: Sequence[int], room: int) -> int:
    """How many runs fit side by side, with all their values whole; at least one.

    Groups of runs stand below each other, as even as can be: 3 and 3 rather than 4 and 2.

    Args:
        rows: a name and each run's value.
        heads: characters of each column's heading.
        room: characters across.
    """
    names, *columns = (max(map(cell_len, column)) for column in zip(*rows, strict=True))
    widths = [max(pair) + CELL_PADDING for pair in zip(columns, heads, strict=True)]
    room -= names + CELL_PADDING
    # Groups share their columns, so every group must fit with the widest of each.
    counts = {-(-len(widths) // groups) for groups in range(1, len(widths) + 1)}
    return max((k for k in counts if sum(_widest(widths, k)) <= room), default=1)


def _widest(widths: Sequence[int], columns: int) -> list[int]:
    """Of each column, when the runs stand in groups of ``columns`` below each other."""
    return [max(widths[place::columns]) for place in range(columns)]


def _fill(
    table: DataTable[Text], rows: Sequence[Sequence[str]], heads: Sequence[Text], columns: int
) -> None:
    """Every row, for the first ``columns`` runs and then, below, for the next ones."""
    for head in (Text(""), *heads[:columns]):
        table.add_column(head)
    for first in range(0, len(heads), columns):
        runs = slice(first, first + columns)
        blank = [Text("")] * (columns - len(heads[runs]))
        if first:
            table.add_row(*[Text("")] * (columns + 1))
            table.add_row(Text(""), *heads[runs], *blank)
        for index, (name, *cells) in enumerate(rows):
            style = "" if index < len(_RESULTS) else "bold"
            table.add_row(plain(name, "dim"), *(plain(cell, style) for cell in cells[runs]), *blank)


class CompareView(Vertical):
    """The open run and the marked ones, one column for each."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("a", "every", "All settings")]
    DEFAULT_CSS = """
    CompareView Static { height: auto; max-height: 50%; padding: 0 1; }
    CompareView DataTable { height: 1fr; }
    """

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self.every = False
        self._drawn: object = None

    def compose(self) -> ComposeResult:
        """A line and the table."""
        yield Static(markup=False)
        table: DataTable[Text] = DataTable(cursor_type="row")
        yield table

    def focus_target(self) -> Widget | None:
        """The table takes the keys."""
        return self.query_one(DataTable)

    def rows(self, frames: Sequence[Frame]) -> list[list[str]]:
        """Results first, then settings."""
        return [*results(frames), *settings(frames, every=self.every)]

    def show(self, board: Base) -> None:
        """Fill the table anew when something in it, or the room for it, has changed."""
        frames = board.all_shown[: len(ascii_uppercase)]
        rows, names, room = self.rows(frames), [frame.name for frame in frames], self.size.width - 2
        if (rows, names, room) == self._drawn or room <= 0:
            return
        self._drawn = (rows, names, room)
        table: DataTable[Text] = self.query_one(DataTable)
        cursor = table.cursor_row
        table.clear(columns=True)
        if len(names) < 2:
            line = "mark another run with space in the list (5) to compare it with this one"
            self.query_one(Static).update(Text(line, style="dim"))
            return
        colours = vocabulary.run_colours(frame.path.name for frame in frames)
        full = [
            plain(f"{letter} {name}", f"bold {colour}")
            for letter, name, colour in zip(ascii_uppercase, names, colours, strict=False)
        ]
        line = "settings that differ are below the results; a shows every setting"
        legend = [Text(line, style="dim")]
        if across(rows, [head.cell_len for head in full], room) < len(full):
            legend += full  # letters head the columns, and the legend has the names
            full = [head[:1] for head in full]
        self.query_one(Static).update(flow(legend[0], legend[1:], room))
        _fill(table, rows, full, across(rows, [head.cell_len for head in full], room))
        table.move_cursor(row=cursor)

    def on_resize(self) -> None:
        """More or fewer runs fit side by side."""
        self.show(board_of(self))

    def action_every(self) -> None:
        """Every setting, or only those that differ."""
        self.every = not self.every
        board_of(self).draw()

    def export(self) -> Rows:
        """The table as it is shown."""
        frames = board_of(self).all_shown
        return Rows("comparison", ["", *(frame.name for frame in frames)], self.rows(frames))
