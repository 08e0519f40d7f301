"""Rows of images on the terminal: colour half-blocks, or characters where there is no colour."""

from __future__ import annotations

import functools
import sys
from collections.abc import Sequence

import numpy as np
from rich.color import Color
from rich.console import Console
from rich.segment import Segment, Segments
from rich.style import Style

from lae_cli.terminal import images
from lae_cli.terminal.console import has_colour, has_unicode, make_console, plain
from lae_cli.terminal.images import Pixels

RAMP = " .:-=+*#%@"
MOST_HEIGHT = 28
"""Pixel rows of one image; more is a screenful."""
Row = tuple[str, Pixels]
"""A caption, and images (k, c, h, w)."""


def show_rows(rows: Sequence[Row], *, console: Console | None = None) -> None:
    """Print each row's caption and its images, all of one size; a long row is wrapped.

    Rows without a caption belong to the picture above them.
    """
    console = console or make_console()
    longest = max(len(pixels) for _, pixels in rows)
    height = _height(rows[0][1], longest, console.width)
    blocks: list[tuple[str, list[Pixels]]] = []
    for caption, pixels in rows:
        if caption or not blocks:
            blocks.append((caption, []))
        blocks[-1][1].append(pixels)
    for caption, parts in blocks:
        if caption:
            console.print(plain(caption, "bright_black"))
        _show(console, parts, height)


def _height(pixels: Pixels, longest: int, width: int) -> int:
    """Pixel rows of an image, so that a row of them fits the terminal where that is legible."""
    _, _, h, w = pixels.shape
    room: int = (width + 1) // max(1, longest) - 1
    fitting = room * h // w // 2 * 2
    return int(max(images.LEAST_HEIGHT, min(fitting, MOST_HEIGHT, max(h, images.LEAST_HEIGHT))))


def _show(console: Console, parts: Sequence[Pixels], height: int) -> None:
    """Rows of images as one picture with gaps between all of them."""
    strips: list[Pixels] = []
    for pixels in parts:
        rest = pixels
        while len(rest):
            strip = images.strip(rest, console.width, height)
            if not strip.size:
                console.print(plain("(an image does not fit this terminal's width)"))
                return
            each = images.strip(rest[:1], console.width, height).shape[1] + 1
            rest = rest[(strip.shape[1] + 1) // each :]
            strips.append(strip)
    if strips:
        _draw(console, *images.stack(strips))


def _draw(console: Console, picture: Pixels, covered: Sequence[int]) -> None:
    """Draw a picture, each line of cells only as far as there are images."""
    if not (has_colour(console) and has_unicode(sys.stdout)):
        for line in images.shades(picture, RAMP):
            console.print(plain(line.rstrip()), no_wrap=True, crop=True)
        return
    for cells, width in zip(half_blocks(picture), covered, strict=True):
        console.print(Segments([*cells[:width], Segment.line()]), end="")


def half_blocks(picture: Pixels) -> list[list[Segment]]:
    """A picture of even height as lines of coloured cells, each an upper and a lower pixel."""
    pairs = np.concatenate([picture[::2], picture[1::2]], axis=2).tolist()
    return [[_cell(*pair) for pair in row] for row in pairs]


@functools.lru_cache(maxsize=1 << 16)
def _cell(r: int, g: int, b: int, below_r: int, below_g: int, below_b: int) -> Segment:
    """Two pixels in one cell. Grey images have few pairs, and a style costs more than a look-up."""
    upper, lower = Color.from_rgb(r, g, b), Color.from_rgb(below_r, below_g, below_b)
    return Segment("▀", Style(color=upper, bgcolor=lower))
