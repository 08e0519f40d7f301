"""The picture view: reconstructions, prior samples, interpolation, traversals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.widget import Widget
from textual.widgets import Static

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


class PicturesView(VerticalScroll):
    """Strips of images, one kind under the other."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("plus,equals_sign", "size(1)", "Larger"),
        Binding("minus", "size(-1)", "Smaller"),
    ]
    DEFAULT_CSS = "PicturesView > Static { height: auto; padding: 0 1; }"

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self.step: int | None = None
        self._drawn: tuple[object, ...] = ()

    def compose(self) -> ComposeResult:
        """One page of text."""
        yield Static(id="page", markup=False)

    def focus_target(self) -> Widget | None:
        """The page scrolls with the keys."""
        return self

    def on_resize(self) -> None:
        """More or fewer images fit."""
        self.call_after_refresh(board_of(self).draw)

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
        """Draw the chosen evaluation's pictures."""
        frame = board.shown
        pick = snapshots.chosen(frame, board.evaluation) if frame else None
        width, size = self.size.width - 4, SIZES[self._step()]
        key = (frame.path if frame else None, pick[1].time if pick else None, width, size)
        if key == self._drawn:
            return
        self._drawn = key
        text = Text("the pictures appear after the first evaluation", style="dim")
        if frame is not None and pick is not None:
            text = _page(frame, *pick, board.glyphs, width, size)
        self.query_one("#page", Static).update(text)


def _page(
    frame: Frame, place: int, event: Evaluated, glyphs: Glyphs, width: int, size: int
) -> Text:
    snapshot = snapshots.load(frame.path, event)
    if snapshot is None:
        return Text(f"epoch {event.epoch}: the snapshot is missing or damaged", style="dim")
    text = Text(f"epoch {event.epoch} ({place + 1} of {len(frame.pictured)})\n", style="dim")
    for heading, rows in _sections(snapshot):
        text.append(f"\n{heading}\n" if len(text) > 30 else f"{heading}\n", style="bold")
        for row in rows:
            _draw(text, images.strip(row, width, size), glyphs)
    return text


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


def _draw(text: Text, pixels: Pixels, glyphs: Glyphs) -> None:
    """Half blocks where there is colour, shades of characters where there is none."""
    if not pixels.size:
        text.append("too narrow for an image\n", style="dim")
        return
    if not (glyphs.unicode and glyphs.colour):
        ramp = _SHADES if glyphs.unicode else RAMP
        text.append("\n".join(images.shades(pixels, ramp)) + "\n\n")
        return
    for cells in half_blocks(pixels):
        text.append_tokens((cell.text, cell.style) for cell in cells)
        text.append("\n")
