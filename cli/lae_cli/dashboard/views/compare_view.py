"""Two or more runs side by side: what they came to, and which settings differ."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widget import Widget
from textual.widgets import DataTable, Static

from lae_cli.dashboard.charts.exports import Rows
from lae_cli.dashboard.following.story import Frame
from lae_cli.dashboard.views.view import Shown
from lae_cli.terminal import vocabulary
from lae_cli.terminal.console import plain
from lae_fast.config import TrainConfig
from lae_fast.runs import Summary

_RESULTS: tuple[tuple[str, Callable[[Summary], str]], ...] = (
    ("status", lambda s: s.status),
    ("best val loss", lambda s: vocabulary.loss(s.best_val_loss)),
    ("best epoch", lambda s: str(s.best_epoch or "-")),
    ("epochs", lambda s: str(s.epochs)),
    (vocabulary.TRAIN_LOSS, lambda s: vocabulary.loss(s.train_loss)),
    (vocabulary.ACCEPTANCE, lambda s: vocabulary.rate(s.accept_rate)),
    (vocabulary.STEP_SIZE, lambda s: vocabulary.scientific(s.step_size)),
    (vocabulary.IMAGE_RATE, lambda s: vocabulary.per_second(s.images_per_second)),
    ("time", lambda s: vocabulary.duration(s.elapsed)),
)


def results(frames: Sequence[Frame]) -> list[list[str]]:
    """One row per figure: its name and each run's."""
    return [[name, *(value(frame.summary) for frame in frames)] for name, value in _RESULTS]


def settings(frames: Sequence[Frame], *, every: bool) -> list[list[str]]:
    """A row a setting that differs (or every one): its name and each run's value."""
    known = list(TrainConfig.__dataclass_fields__)
    names = dict.fromkeys([*known, *(str(key) for frame in frames for key in frame.config)])
    rows = []
    for name in names:
        values = [_value(frame.config, name) for frame in frames]
        if every or len(set(values)) > 1:
            rows.append([name, *values])
    return rows


def _value(config: dict[str, Any], name: str) -> str:
    return str(config[name]) if name in config else "-"


class CompareView(Vertical):
    """The open run and the marked ones, a column each."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("a", "every", "All settings")]
    DEFAULT_CSS = """
    CompareView Static { height: 1; padding: 0 1; }
    CompareView DataTable { height: 1fr; }
    """

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self.every = False
        self._shown: Shown | None = None
        self._drawn: object = None

    def compose(self) -> ComposeResult:
        """A line and the table."""
        yield Static(markup=False)
        table: DataTable[Text] = DataTable(cursor_type="row")
        yield table

    def focus_target(self) -> Widget | None:
        """The table takes the keys."""
        return self.query_one(DataTable)

    def rows(self) -> list[list[str]]:
        """Results first, then settings."""
        frames = self._shown.frames if self._shown else ()
        return [*results(frames), *settings(frames, every=self.every)]

    def show(self, shown: Shown) -> None:
        """Fill the table anew when something in it has changed."""
        self._shown = shown
        rows, names = self.rows(), [frame.name for frame in shown.frames]
        if (rows, names) == self._drawn:
            return
        self._drawn = (rows, names)
        self._say(shown)
        table: DataTable[Text] = self.query_one(DataTable)
        cursor = table.cursor_row
        table.clear(columns=True)
        if len(names) < 2:
            return
        table.add_column("")
        colours = vocabulary.run_colours(frame.path.name for frame in shown.frames)
        letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
        for letter, colour, frame in zip(letters, colours, shown.frames, strict=False):
            table.add_column(plain(f"{letter} {frame.name}", f"bold {colour}"))
        for index, row in enumerate(rows):
            style = "" if index < len(_RESULTS) else "bold"
            table.add_row(plain(row[0], "dim"), *(plain(cell, style) for cell in row[1:27]))
        table.move_cursor(row=cursor)

    def _say(self, shown: Shown) -> None:
        line = "settings that differ are below the results; a shows every setting"
        if len(shown.frames) < 2:
            line = "mark another run with space in the list (5) to compare it with this one"
        self.query_one(Static).update(Text(line, style="dim"), layout=False)

    def action_every(self) -> None:
        """Every setting, or only those that differ."""
        self.every = not self.every
        if self._shown is not None:
            self.show(self._shown)

    def export(self) -> Rows:
        """The table as it is shown."""
        frames = self._shown.frames if self._shown else ()
        return Rows("comparison", ["", *(frame.name for frame in frames)], self.rows())
