"""A chart of `Series` on textual-plot: log axes, smoothing, envelopes, zoom, read-out."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from typing import ClassVar

from rich.text import Text
from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.message import Message
from textual.widgets import Static
from textual_hires_canvas import Canvas, HiResMode
from textual_plot import PlotWidget

from lae_cli.dashboard.charts import metrics
from lae_cli.dashboard.charts.metrics import Drawing, Metric
from lae_cli.dashboard.charts.series import (
    WINDOWS,
    Series,
    drawable,
    envelope,
    nearest,
    smooth,
)
from lae_cli.dashboard.charts.ticks import Ticks
from lae_cli.dashboard.following.columns import Floats
from lae_cli.dashboard.following.frame import Frame
from lae_cli.terminal.flow import flow

LEAST_WAIT, LONGEST_WAIT = 1.0, 10.0
"""Seconds between two drawings of a chart that grows."""


class Chart(PlotWidget):
    """The plot itself; `ChartPanel` adds its title and read-out."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("plus,equals_sign", "zoom_in", "Zoom in", show=False),
        Binding("minus", "zoom_out", "Zoom out", show=False),
        Binding("shift+right", "zoom_x_in", "Zoom in along x", show=False),
        Binding("shift+left", "zoom_x_out", "Zoom out along x", show=False),
        Binding("shift+up", "zoom_y_in", "Zoom in along y", show=False),
        Binding("shift+down", "zoom_y_out", "Zoom out along y", show=False),
        Binding("r,0", "reset_scales", "Whole range", show=False),
        Binding("comma", "cursor(-1)", "Cursor left", show=False),
        Binding("full_stop", "cursor(1)", "Cursor right", show=False),
    ]
    DEFAULT_CSS = """
    Chart { height: 1fr; }
    Chart > .plot--axis { color: $foreground 35%; }
    Chart:focus > .plot--axis { color: $primary; }
    Chart > .plot--tick { color: $foreground 70%; text-style: none; }
    """

    class Read(Message):
        """The cursor moved: x in the chart's own coordinates; None when it left."""

        def __init__(self, at: float | None) -> None:
            super().__init__()
            self.at = at

    def __init__(self) -> None:
        super().__init__(invert_mouse_wheel=True)  # up is closer, as with the latents
        self.log_x, self.log_y, self.window = False, False, WINDOWS[0]
        self.zoomed = False
        self.cursor: float | None = None
        self.drawing: Drawing | None = None
        self._lines: list[Series] = []
        """What the drawing has to show, in the axes' own coordinates."""
        self._x_ticks_made, self._y_ticks_made = Ticks(), Ticks()

    def on_mount(self) -> None:
        """Use our own ticks, and as little room around the plot as they need."""
        self.margin_top, self.margin_left, self.margin_bottom = 0, 9, 1
        super().on_mount()
        self.set_x_formatter(self._x_ticks_made)
        self.set_y_formatter(self._y_ticks_made)

    @property
    def x_range(self) -> tuple[float, float]:
        """The least and the greatest x in sight, in the axis's own coordinates."""
        return self._x_min, self._x_max

    @property
    def y_range(self) -> tuple[float, float]:
        """The least and the greatest y in sight, in the axis's own coordinates."""
        return self._y_min, self._y_max

    def draw(self, drawing: Drawing | None) -> None:
        """Show something else, or the same with more points; the zoom stays.

        None keeps the picture and forgets the points.
        """
        self.drawing = drawing
        self._lines = [
            drawable(line, log_x=self.log_x, log_y=self.log_y)
            for line in (drawing.series if drawing else ())
        ]
        self.redraw()

    def redraw(self) -> None:
        """Draw again, at the resolution that there is."""
        if self.drawing is None or not self.is_attached:
            return
        if not self.zoomed:
            self._fit(None if self.log_y else self.drawing.metric.y_range)
        size = self.size
        self._x_ticks_made.count = max(2, (size.width - 10) // 12)
        self._y_ticks_made.count = max(2, (size.height - 3) // 3)
        self._x_ticks_made.log, self._y_ticks_made.log = self.log_x, self.log_y
        self.clear()
        left, right = self.x_range
        for line in sorted(self._lines, key=lambda line: not line.faint):
            smoothed = self.window > 1 and not line.faint and len(line.x) > 2
            raw_style = f"dim {line.colour}" if smoothed or line.faint else line.style
            self._plot(line.x, line.y, raw_style)
            if smoothed:
                self._plot(*smooth(line.x, line.y, self.window), line.style)
        if self.cursor is not None and left <= self.cursor <= right:
            self.add_v_line(self.cursor, line_style="dim")

    @property
    def _columns(self) -> int:
        """Characters across, inside the frame."""
        return max(8, self.size.width - 11)

    def _fit(self, y_range: tuple[float, float] | None) -> None:
        """Limits that hold all lines but the faint ones."""
        filled = [line for line in self._lines if len(line.x)]
        counted = [line for line in filled if not line.faint] or filled
        # Half a column, or the last point would fall on the frame.
        self.set_xlimits(*_limits([line.x for line in counted], margin=0.5 / self._columns))
        self.set_ylimits(*(y_range or _limits([line.y for line in counted], margin=0.05)))

    def _plot(self, x: Floats, y: Floats, style: str) -> None:
        x, y = envelope(x, y, *self.x_range, self._columns)
        mode = None if getattr(self.app, "ascii_only", False) else HiResMode.BRAILLE
        if len(x) == 1:
            self.scatter(x, y, marker="*", marker_style=style)
        elif len(x):
            self.plot(x, y, line_style=style, hires_mode=mode)

    def read(self, at: float) -> tuple[float, list[tuple[Series, float | None]]]:
        """The values under the cursor: x, and y of each line, all in data units."""
        lines = [line for line in self._lines if not line.faint]
        column = (self.x_range[1] - self.x_range[0]) / self._columns
        values = [nearest(line.x, line.y, at, reach=column) for line in lines]
        if self.log_y:
            values = [None if value is None else 10.0**value for value in values]
        return (10.0**at if self.log_x else at), list(zip(lines, values, strict=True))

    def _render_x_label(self) -> None:
        """Name the x axis in the corner below the y axis, where no line is lost to it."""
        if self.drawing is not None:
            style = self.get_component_rich_style("plot--tick")
            self.query_one("#margin-bottom", Canvas).write_text(
                0, 0, f"[{style}]{metrics.UNITS[self.drawing.x_axis]}"
            )

    @on(PlotWidget.ScaleChanged)
    def _scaled(self, event: PlotWidget.ScaleChanged) -> None:
        self.zoomed = True
        for low, high in ((event.x_min, event.x_max), (event.y_min, event.y_max)):
            size = max(abs(low), abs(high), 1e-300)
            if not (1e-12 * size < high - low < 1e101):  # too far: a chart of nothing
                self.action_reset_scales()
                return
        self.redraw()

    def action_reset_scales(self) -> None:
        """Show everything again."""
        self.zoomed = False
        self.redraw()

    def action_cursor(self, step: int) -> None:
        """Move the read-out by one column."""
        left, right = self.x_range
        at = self.cursor if self.cursor is not None else (left + right) / 2
        at += step * (right - left) / self._columns
        self._point(min(max(at, left), right))

    @on(events.MouseMove)
    def _hover(self, event: events.MouseMove) -> None:
        if event.button == 0 and self.drawing is not None:
            at, _ = self.get_coordinate_from_pixel(
                event.screen_x - self.region.x - self.margin_left, 1
            )
            left, right = self.x_range
            self._point(at if left <= at <= right else None)

    @on(events.Leave)
    def _left(self) -> None:
        if not self.is_mouse_over:
            self._point(None)

    def _point(self, at: float | None) -> None:
        if at != self.cursor:
            self.cursor = at
            self.redraw()
            self.post_message(self.Read(at))

    def on_resize(self) -> None:
        """More or fewer columns: other envelopes."""
        self.call_after_refresh(self.redraw)


def _limits(arrays: Sequence[Floats], *, margin: float) -> tuple[float, float]:
    """A range that holds all values, of which no array is without, and is never empty."""
    if not arrays:
        return 0.0, 1.0
    low, high = min(float(v.min()) for v in arrays), max(float(v.max()) for v in arrays)
    pad = margin * (high - low)
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        pad = 0.05 * abs(high) or 0.5
    return low - pad, high + pad


class ChartPanel(Vertical):
    """A chart under a caption that names its lines, or reads them out under the cursor."""

    DEFAULT_CSS = """
    ChartPanel > Static { height: auto; max-height: 60%; padding: 0 1; }
    """

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self.chart = Chart()
        self._title = Static(markup=False)
        self._metric: Metric | None = None
        self._key: object = None
        self._points, self._drawn_at = 0, 0.0
        self._caption_lines = -1

    def compose(self) -> ComposeResult:
        """The line, and the chart."""
        yield self._title
        yield self.chart

    def show(self, metric: Metric, frames: Sequence[Frame], x_axis: str = "iteration") -> None:
        """Draw what is new: at once if it is another chart, and growth once it can be seen.

        Charts are the dearest thing on the screen, and a hundredth more points is half a column.
        """
        key, points = (metric.name, x_axis, metrics.shape(frames)), metrics.length(frames)
        if key == self._key:
            grown, waited = abs(points - self._points), time.monotonic() - self._drawn_at
            seen = grown >= max(1, self._points // 128) and waited >= LEAST_WAIT
            if not (seen or (grown > 0 and waited >= LONGEST_WAIT)):
                return
        if metric is not self._metric:  # another one begins with its own axes, unzoomed
            self.chart.log_y, self.chart.zoomed = metric.log_y, False
        self._metric, self._key = metric, key
        self._points, self._drawn_at = points, time.monotonic()
        self.chart.draw(metrics.draw(metric, frames, x_axis))
        self._caption(self.chart.cursor)

    def forget(self) -> None:
        """Draw anew when next shown, whether or not there is anything new."""
        self._key = None

    @on(events.Hide)
    def _hidden(self) -> None:
        """What is out of sight does not hold on to points of long ago."""
        self.forget()
        self.chart.draw(None)

    @on(Chart.Read)
    def _read(self, event: Chart.Read) -> None:
        event.stop()
        self._caption(event.at)

    def _caption(self, at: float | None) -> None:
        drawing = self.chart.drawing
        if drawing is None:
            return
        heading = Text(drawing.metric.title, style="bold")
        heading.append(self._marks(), style="not bold dim")
        values: list[float | None] = []
        if at is not None:
            x, found = self.chart.read(at)
            values = [value for _, value in found]
            heading.append(f"  {metrics.place(drawing.x_axis, x)}", style="not bold")
        named = [line for line in drawing.series if not line.faint]
        if named and named[0].run:  # the curves of each run stand behind its name
            curves = " / ".join(dict.fromkeys(line.label for line in named))
            heading.append(f"  {curves}", style="not bold dim")
        text = flow(
            heading, list(_items(named, values, drawing.metric)), max(1, self.size.width - 2)
        )
        lines = text.plain.count("\n")
        self._title.update(text, layout=lines != self._caption_lines)
        self._caption_lines = lines

    def on_resize(self) -> None:
        """The caption's lines break elsewhere."""
        self._caption(self.chart.cursor)

    def _marks(self) -> str:
        """What is done to the axes and the lines, in words."""
        chart = self.chart
        marks = [
            name
            for name, on in (
                ("log y", chart.log_y),
                ("log x", chart.log_x),
                (f"mean of {chart.window}", chart.window > 1),
                ("zoomed", chart.zoomed),
            )
            if on
        ]
        return f" ({', '.join(marks)})" if marks else ""


def _items(
    lines: Sequence[Series], values: Sequence[float | None], metric: Metric
) -> Iterator[Text]:
    """The name of each line, and its value where there are any; a run's lines are one item."""
    shown = values or [None] * len(lines)
    pairs = zip(lines, shown, strict=True)
    for name, group in itertools.groupby(pairs, key=lambda pair: pair[0].run or pair[0].label):
        own = list(group)
        item = Text(name, style=own[-1][0].style)
        if values:
            numbers = ("-" if value is None else metric.number(value) for _, value in own)
            item.append(f" {' / '.join(numbers)}", style="not dim bold")
        yield item
