"""Two or more runs side by side: what they came to, and which settings differ."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from string import ascii_uppercase
from typing import Any, ClassVar

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


def results(frames: Sequence[Frame]) -> list[list[str]]:
    """A row per result: its name and each run's value."""
    return [[name, *(value(frame) for frame in frames)] for name, value in _RESULTS]


def settings(frames: Sequence[Frame], *, every: bool) -> list[list[str]]:
    """A row per setting that differs (or every one): its name and each run's value."""
    known = list(TrainConfig.__dataclass_fields__)
    names = dict.fromkeys([*known, *(str(key) for frame in frames for key in frame.config)])
    rows = []
    for name in names:
        values = [_value(frame.config, name) for frame in frames]
        if every or len(set(values)) > 1:
            rows.append([name, *values])
    return rows


def _value(config: Mapping[str, Any], name: str) -> str:
    return str(config[name]) if name in config else "-"


class CompareView(Vertical):
    """The open run and the marked ones, one column for each."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("a", "every", "All settings")]
    DEFAULT_CSS = """
    CompareView Static { height: 1; padding: 0 1; }
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
        """Fill the table anew when something in it has changed."""
        frames = board.all_shown
        rows, names = self.rows(frames), [frame.name for frame in frames]
        if (rows, names) == self._drawn:
            return
        self._drawn = (rows, names)
        line = "settings that differ are below the results; a shows every setting"
        if len(names) < 2:
            line = "mark another run with space in the list (5) to compare it with this one"
        self.query_one(Static).update(Text(line, style="dim"), layout=False)
        table: DataTable[Text] = self.query_one(DataTable)
        cursor = table.cursor_row
        table.clear(columns=True)
        if len(names) < 2:
            return
        table.add_column("")
        colours = vocabulary.run_colours(frame.path.name for frame in frames)
        for letter, colour, frame in zip(ascii_uppercase, colours, frames, strict=False):
            table.add_column(plain(f"{letter} {frame.name}", f"bold {colour}"))
        for index, row in enumerate(rows):
            style = "" if index < len(_RESULTS) else "bold"
            table.add_row(plain(row[0], "dim"), *(plain(cell, style) for cell in row[1:27]))
        table.move_cursor(row=cursor)

    def action_every(self) -> None:
        """Every setting, or only those that differ."""
        self.every = not self.every
        board_of(self).draw()

    def export(self) -> Rows:
        """The table as it is shown."""
        frames = board_of(self).all_shown
        return Rows("comparison", ["", *(frame.name for frame in frames)], self.rows(frames))
