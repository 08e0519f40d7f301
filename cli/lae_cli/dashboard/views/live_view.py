"""The live view: values on the left, charts on the right."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Grid, Horizontal, Vertical
from textual.widget import Widget
from textual.widgets import Static

from lae_cli.dashboard.charts.chart import ChartPanel
from lae_cli.dashboard.charts.metrics import at_a_glance
from lae_cli.dashboard.views.run_text import notes, values

if TYPE_CHECKING:
    from lae_cli.dashboard.base import Base

WIDE, TALL = 130, 34
"""Columns and lines from which on all four charts are shown."""
CHARTS = ("first", "second", "third", "fourth")


class LiveView(Horizontal):
    """Everything about one run at a glance."""

    DEFAULT_CSS = """
    LiveView #left { width: 39; padding: 0 1; }
    LiveView #values { height: auto; text-wrap: nowrap; text-overflow: ellipsis; }
    LiveView #notes { height: 1fr; margin-top: 1; }
    LiveView > Grid { grid-size: 1 2; grid-rows: 1fr 1fr; }
    LiveView.wide #left { width: 46; }
    LiveView.wide > Grid { grid-size: 2 2; }
    LiveView #third, LiveView #fourth { display: none; }
    LiveView.wide #third, LiveView.wide #fourth { display: block; }
    """

    def compose(self) -> ComposeResult:
        """Values and notes; charts."""
        with Vertical(id="left"):
            yield Static(id="values", markup=False)
            yield Static(id="notes", markup=False)
        with Grid():
            for name in CHARTS:
                yield ChartPanel(id=name)

    def on_resize(self) -> None:
        """Four charts where there is room for them."""
        self.set_class(self.size.width >= WIDE and self.size.height >= TALL, "wide")

    def focus_target(self) -> Widget | None:
        """The loss takes the keys."""
        return self.query_one(f"#{CHARTS[0]}", ChartPanel).chart

    def show(self, board: Base) -> None:
        """Draw what has changed."""
        frame = board.shown
        text, room = self.query_one("#values", Static), self.query_one("#notes", Static)
        if frame is None:
            text.update(Text("no run is open; press 5 for the list"))
            return
        text.update(values(frame, board.glyphs, self.query_one("#left").size.width or 37))
        room.update(notes(frame, room.size.height), layout=False)
        count = len(CHARTS) if self.has_class("wide") else 2
        for name, metric in zip(CHARTS[:count], at_a_glance(frame), strict=False):
            self.query_one(f"#{name}", ChartPanel).show(metric, [frame])
