"""The chart view: any quantity, of the open run and the marked ones together."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.widget import Widget
from textual.widgets import OptionList

from lae_cli.dashboard.base import Base, board_of
from lae_cli.dashboard.charts.chart import ChartPanel
from lae_cli.dashboard.charts.metrics import METRICS, X_AXES, Metric
from lae_cli.dashboard.charts.series import WINDOWS


class ChartsView(Horizontal):
    """A list of quantities and the chart of the chosen one."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("m", "metric(1)", "Next chart"),
        Binding("M", "metric(-1)", "Previous chart", show=False),
        Binding("y", "log('y')", "Log y"),
        Binding("l", "log('x')", "Log x"),
        Binding("s", "smooth(1)", "Smooth"),
        Binding("S", "smooth(-1)", "Smooth less", show=False),
        Binding("u", "x_axis", "x axis"),
    ]
    DEFAULT_CSS = """
    ChartsView OptionList { width: 20; height: 1fr; border: none; padding: 0; }
    ChartsView ChartPanel { width: 1fr; }
    """

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self.panel = ChartPanel()
        self.metric: Metric = METRICS[0]
        self.x_axis = X_AXES[0]

    def compose(self) -> ComposeResult:
        """The list and the chart."""
        yield OptionList(*(metric.name for metric in METRICS), markup=False)
        yield self.panel

    def focus_target(self) -> Widget | None:
        """The chart takes the keys."""
        return self.panel.chart

    def show(self, board: Base) -> None:
        """Draw the chosen quantity, if there is more of it."""
        self.panel.show(self.metric, board.all_shown, self.x_axis)

    def _again(self) -> None:
        self.panel.forget()
        board_of(self).draw()

    @on(OptionList.OptionHighlighted)
    def _choose(self, event: OptionList.OptionHighlighted) -> None:
        self.metric = METRICS[event.option_index]
        self._again()

    def action_metric(self, step: int) -> None:
        """Another quantity."""
        options = self.query_one(OptionList)
        options.highlighted = ((options.highlighted or 0) + step) % len(METRICS)

    def action_log(self, axis: str) -> None:
        """Logarithmic or linear."""
        name = f"log_{axis}"
        setattr(self.panel.chart, name, not getattr(self.panel.chart, name))
        self.panel.chart.zoomed = False
        if axis == "x":  # the cursor stands on the axis that was
            self.panel.chart.cursor = None
        self._again()

    def action_smooth(self, step: int) -> None:
        """A longer or shorter moving average; past the longest comes none."""
        place = WINDOWS.index(self.panel.chart.window)
        self.panel.chart.window = WINDOWS[(place + step) % len(WINDOWS)]
        self._again()

    def action_x_axis(self) -> None:
        """Iterations, epochs or hours."""
        self.x_axis = X_AXES[(X_AXES.index(self.x_axis) + 1) % len(X_AXES)]
        self.panel.chart.zoomed, self.panel.chart.cursor = False, None
        self._again()
