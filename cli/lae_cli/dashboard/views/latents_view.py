"""The latent view: a scatter of latent means that can be zoomed, panned and scrubbed."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
from rich.segment import Segment
from rich.style import Style
from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.geometry import Size
from textual.strip import Strip
from textual.widget import Widget
from textual.widgets import Static

from lae_cli.dashboard.base import Base, board_of
from lae_cli.dashboard.charts.exports import Rows
from lae_cli.dashboard.following import snapshots
from lae_cli.dashboard.following.snapshots import Plane
from lae_cli.terminal import scatter, vocabulary
from lae_cli.terminal.glyphs import Glyphs
from lae_cli.terminal.scatter import Bounds, Labels
from lae_cli.terminal.snapshot import Snapshot
from lae_fast.runs.plane import Projector

ZOOM = 1.25
_ANGLES = np.linspace(0, 2 * math.pi, 720, endpoint=False)
_CIRCLE = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], axis=1)


class LatentPlot(Widget, can_focus=True):
    """Points in the plane, to scale: a circle is a circle."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("plus,equals_sign", "zoom(1)", "Zoom in", show=False),
        Binding("minus", "zoom(-1)", "Zoom out", show=False),
        Binding("left", "pan(-1,0)", "Pan left", show=False),
        Binding("right", "pan(1,0)", "Pan right", show=False),
        Binding("up", "pan(0,1)", "Pan up", show=False),
        Binding("down", "pan(0,-1)", "Pan down", show=False),
        Binding("r,0", "reset", "Whole range", show=False),
    ]
    DEFAULT_CSS = "LatentPlot { height: 1fr; }"

    def __init__(self) -> None:
        super().__init__()
        self.zoom, self.shift = 1.0, np.zeros(2)
        self.plane: Plane | None = None
        self._labels: Labels = np.zeros(0, np.int64)
        self._glyphs = Glyphs()
        self._strips: list[Strip] = []

    def put(self, plane: Plane | None, labels: Labels, glyphs: Glyphs) -> None:
        """Show other points; zoom and shift stay."""
        self.plane, self._labels, self._glyphs = plane, labels, glyphs
        self._redraw()

    def bounds(self) -> Bounds:
        """What is shown, in the plane's units; dots are square."""
        dots = np.array([2.0 * max(1, self.size.width), 4.0 * max(1, self.size.height)])
        if self.plane is None or not len(self.plane.points):
            low, high = -np.ones(2), np.ones(2)
        else:
            low, high = np.percentile(self.plane.points, [0.5, 99.5], axis=0)
            low = np.minimum(low, self.plane.origin - 1)
            high = np.maximum(high, self.plane.origin + 1)
        unit = float(((high - low) / dots).max()) * 1.04 / self.zoom
        middle, half = (low + high) / 2 + self.shift, dots * unit / 2
        return (
            float(middle[0] - half[0]),
            float(middle[0] + half[0]),
            float(middle[1] - half[1]),
            float(middle[1] + half[1]),
        )

    def _redraw(self) -> None:
        self._strips = []
        if self.plane is not None and self.size.area:
            rows = scatter.draw(
                self.plane.points,
                self._labels,
                self.size.width,
                self.size.height,
                braille=self._glyphs.unicode,
                colour=self._glyphs.colour,
                bounds=self.bounds(),
                ring=_CIRCLE + self.plane.origin,
            )
            base = self.rich_style
            for row in rows:
                cells = [Segment(cell.text, base + _style(cell)) for cell in row]
                self._strips.append(Strip(cells, self.size.width).simplify())
        self.refresh()

    def render_line(self, y: int) -> Strip:
        """One line of the plot."""
        if y < len(self._strips):
            return self._strips[y]
        return Strip.blank(self.size.width, self.rich_style)

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """All the room there is."""
        return container.height

    def on_resize(self) -> None:
        """Other dots."""
        self._redraw()

    def action_zoom(self, steps: int) -> None:
        """Zoom about the middle."""
        self.zoom = min(1e6, max(0.05, self.zoom * ZOOM**steps))
        self._redraw()

    def action_pan(self, right: int, up: int) -> None:
        """Move by a tenth of what is shown."""
        x0, x1, y0, y1 = self.bounds()
        self.shift = self.shift + np.array([right * (x1 - x0), up * (y1 - y0)]) / 10
        self._redraw()

    def action_reset(self) -> None:
        """Show everything."""
        self.zoom, self.shift = 1.0, np.zeros(2)
        self._redraw()

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        """Wheel: zoom in."""
        event.stop()
        self.action_zoom(1)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        """Wheel: zoom out."""
        event.stop()
        self.action_zoom(-1)

    def on_mouse_move(self, event: events.MouseMove) -> None:
        """Drag: pan."""
        if event.button:
            x0, x1, y0, y1 = self.bounds()
            step = np.array([(x1 - x0) / self.size.width, (y1 - y0) / self.size.height])
            self.shift = self.shift + step * np.array([-event.delta_x, event.delta_y])
            self._redraw()


def _style(cell: scatter.Cell) -> Style:
    if cell.label is None:
        return Style(dim=True)
    colour = vocabulary.class_colour(cell.label)
    return Style.parse(f"bold reverse {colour}" if cell.marker else colour)


class LatentsView(Vertical):
    """The plot, what it shows, and its classes."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("a", "axes(1)", "Next axes"),
        Binding("A", "axes(-1)", "Previous axes", show=False),
    ]
    DEFAULT_CSS = "LatentsView > Static { height: 1; padding: 0 1; }"

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self.axes = 0
        self.plot = LatentPlot()
        self._projector = Projector()
        self._drawn: tuple[object, ...] = ()
        self._shown: tuple[str, Snapshot] | None = None
        """What is drawn: a name for it, and its latents."""

    def compose(self) -> ComposeResult:
        """Caption, plot, legend."""
        yield Static(id="caption", markup=False)
        yield self.plot
        yield Static(id="legend", markup=False)

    def focus_target(self) -> Widget | None:
        """The plot takes the keys."""
        return self.plot

    def show(self, board: Base) -> None:
        """Draw the chosen evaluation."""
        frame = board.shown
        pick = snapshots.chosen(frame, board.evaluation) if frame else None
        if frame is None or pick is None:
            self._say("the latents appear after the first evaluation")
            return
        place, event = pick
        key = (frame.path, event.time, self.axes)
        if key == self._drawn:
            return
        snapshot = snapshots.load(frame.path, event)
        if snapshot is None or not len(snapshot.latents):
            self._say(f"epoch {event.epoch}: the snapshot is missing or damaged")
            return
        if key[0] != (self._drawn[0] if self._drawn else None):
            self._projector = Projector()
        self._drawn = key
        names = snapshots.axes_of(snapshot.latents.shape[1]) or [snapshots.PRINCIPAL]
        plane = snapshots.plane(snapshot, names[self.axes % len(names)], self._projector)
        self.plot.put(plane, snapshot.labels, board.glyphs)
        self._shown = f"{frame.name}-latents-epoch-{event.epoch}", snapshot
        many = len(frame.pictured)
        caption = board.glyphs.dot.join(
            [f"epoch {event.epoch} ({place + 1} of {many})", plane.caption, "ring: |z| = 1"]
        )
        self.query_one("#caption", Static).update(Text(caption, style="dim"), layout=False)
        self.query_one("#legend", Static).update(_legend(snapshot), layout=False)

    def _say(self, line: str) -> None:
        self._drawn, self._shown = (), None
        self.plot.put(None, np.zeros(0, np.int64), Glyphs())
        self.query_one("#caption", Static).update(Text(line, style="dim"), layout=False)

    def export(self) -> Rows | None:
        """Every latent that is drawn, and where it falls in the plane."""
        if self._shown is None or self.plot.plane is None:
            return None
        name, snapshot = self._shown
        header = ["label", "x", "y", *(f"z{i + 1}" for i in range(snapshot.latents.shape[1]))]
        columns = (snapshot.labels.tolist(), self.plot.plane.points, snapshot.latents)
        rows = [
            [label, *point.tolist(), *z.tolist()] for label, point, z in zip(*columns, strict=True)
        ]
        return Rows(name, header, rows)

    def action_axes(self, step: int) -> None:
        """Look along other axes."""
        self.axes += step
        self._projector = Projector()
        board_of(self).draw()


def _legend(snapshot: Snapshot) -> Text:
    """Each class's letter in its colour, and how many points it has."""
    text = Text("classes ", style="dim", no_wrap=True)
    classes, counts = np.unique(snapshot.labels, return_counts=True)
    for label, count in zip(classes.tolist(), counts.tolist(), strict=True):
        text.append(vocabulary.class_letter(label), style=f"bold {vocabulary.class_colour(label)}")
        text.append(f" {count}  ", style="dim")
    return text
