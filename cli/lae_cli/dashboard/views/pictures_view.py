"""The picture view: reconstructions, prior samples, interpolation, traversals."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.widget import Widget

from lae_cli.dashboard.base import Base, board_of
from lae_cli.dashboard.following import snapshots
from lae_cli.dashboard.following.frame import Frame
from lae_cli.terminal import images
from lae_cli.terminal.glyphs import Glyphs
from lae_cli.terminal.images import Pixels
from lae_cli.terminal.pictures import RAMP, half_blocks
from lae_cli.terminal.snapshot import Snapshot
from lae_fast.runs.events import Evaluated

SIZES = (8, 12, 16, 20, 28, 40, 56)
"""Pixels, up and down, that an image may have on the screen."""
_SHADES = " ░▒▓█"
_MARGIN = 1
Line = list[Segment]


class PicturesView(ScrollView, can_focus=True):
    """Strips of images, one kind under the other, made for the size that the view has."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("plus,equals_sign", "size(1)", "Larger"),
        Binding("minus", "size(-1)", "Smaller"),
    ]
    DEFAULT_CSS = "PicturesView { height: 1fr; scrollbar-gutter: stable; overflow-x: hidden; }"

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self.step: int | None = None
        self._drawn: tuple[object, ...] = ()
        self._strips: list[Strip] = []

    def focus_target(self) -> Widget | None:
        """The page scrolls with the keys."""
        return self

    def on_resize(self) -> None:
        """More or fewer images fit."""
        self.show(board_of(self))

    def action_size(self, step: int) -> None:
        """Draw the images larger or smaller."""
        self.step = min(len(SIZES) - 1, max(0, self._step() + step))
        board_of(self).draw()

    def _step(self) -> int:
        """The size asked for, or one at which a pair of strips fits."""
        if self.step is not None:
            return self.step
        room = self.size.height - 4
        return max((i for i, size in enumerate(SIZES) if size <= min(room, 28)), default=0)

    def show(self, board: Base) -> None:
        """Draw the chosen evaluation's pictures, once there is room to draw in."""
        if not self.size.area:
            return
        frame = board.shown
        pick = snapshots.chosen(frame, board.evaluation) if frame else None
        size, height, base = self.size, SIZES[self._step()], self.rich_style
        key = (frame.path if frame else None, pick[1].time if pick else None, size, height, base)
        if key == self._drawn:
            return
        self._drawn = key
        page: Iterable[Line] = [_text("the pictures appear after the first evaluation", base)]
        if frame is not None and pick is not None:
            page = _page(frame, *pick, board.glyphs, size.width - 2 * _MARGIN, height, base)
        margin = Segment(" " * _MARGIN, base)
        strips = [Strip([margin, *line]).adjust_cell_length(size.width, base) for line in page]
        self._strips, self.virtual_size = strips, Size(size.width, len(strips))
        self.refresh()

    def render_line(self, y: int) -> Strip:
        """One line of the page."""
        place = y + self.scroll_offset.y
        if place < len(self._strips):
            return self._strips[place]
        return Strip.blank(self.size.width, self.rich_style)


def _page(
    frame: Frame,
    place: int,
    event: Evaluated,
    glyphs: Glyphs,
    width: int,
    height: int,
    base: Style,
) -> Iterator[Line]:
    """An evaluation's pictures, ``width`` characters across, each image ``height`` pixels high."""
    snapshot = snapshots.load(frame.path, event)
    if snapshot is None:
        yield _text(f"epoch {event.epoch}: the snapshot is missing or damaged", base)
        return
    yield _text(f"epoch {event.epoch} ({place + 1} of {len(frame.pictured)})", base)
    for number, (heading, rows) in enumerate(_sections(snapshot)):
        yield from [[]] if number else []
        yield [Segment(heading, base + Style(bold=True))]
        for row in rows:
            yield from _drawn(images.strip(row, width, height), glyphs, base)


def _text(text: str, base: Style) -> Line:
    return [Segment(text, base + Style(dim=True))]


def _sections(snapshot: Snapshot) -> Iterator[tuple[str, list[Pixels]]]:
    """Headings with the rows of images below them; a heading says so if there are none."""
    pairs = [snapshot.originals, snapshot.reconstructions]
    kinds: tuple[tuple[str, Sequence[Pixels]], ...] = (
        ("images above, their reconstructions below", pairs),
        ("samples of the prior", [snapshot.prior_samples]),
        ("from one image to another", [snapshot.interpolation]),
        ("one latent varied, one row per latent", snapshot.traversal),
    )
    for heading, rows in kinds:
        drawn = [row for row in rows if len(row)]
        yield heading if drawn else f"{heading}  (not drawn by this trainer)", drawn


def _drawn(pixels: Pixels, glyphs: Glyphs, base: Style) -> Iterator[Line]:
    """Half blocks where there is colour, shades of characters where there is none."""
    if not pixels.size:
        yield _text("too narrow for an image", base)
    elif glyphs.unicode and glyphs.colour:
        yield from half_blocks(pixels)
    else:
        ramp = _SHADES if glyphs.unicode else RAMP
        yield from ([Segment(line, base)] for line in images.shades(pixels, ramp))
        yield []
