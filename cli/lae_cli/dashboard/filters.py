"""What is done to every line of the screen at the last moment."""

from __future__ import annotations

import functools
import unicodedata

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual.color import Color
from textual.filter import LineFilter

_LIKE = {
    character: like
    for like, characters in {
        "-": "─━═╌┄–—▔",
        "_": "▁",
        "|": "│┃║▏▕▌▐▎",
        "*": "●•█▀▄",
        ".": "·",
        "~": "…",
        "=": "⏸",
        ">": "▶→",
        "<": "←",
        "^": "↑▲",
        "v": "↓▼",
        "x": "✓×",
    }.items()
    for character in characters
}


@functools.lru_cache(maxsize=4096)
def ascii_like(character: str) -> str:
    """ASCII that looks like a character and is as wide."""
    if character.isascii():
        return character
    if character in _LIKE:
        return _LIKE[character]
    code = ord(character)
    if 0x2500 <= code < 0x2580:  # what is left of box drawing: corners and crossings
        return "+"
    if 0x2580 <= code < 0x25A0:
        return "#"
    if 0x2800 <= code < 0x2900:
        return "." if code & 0xFF else " "
    letters = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
    width = cell_len(character)
    return letters if letters and len(letters) == width else "?" * width


class StyleFilter(LineFilter):
    """Gives a style to every segment: plots leave some without, which NO_COLOR cannot take."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        """The same segments, none without a style."""
        null = Style.null()
        return [Segment(text, style or null, control) for text, style, control in segments]


class AsciiFilter(LineFilter):
    """Replaces every other character at the last moment, whatever drew it."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        """The same segments in ASCII."""
        return [
            segment
            if segment.text.isascii()
            else Segment("".join(map(ascii_like, segment.text)), segment.style, segment.control)
            for segment in segments
        ]
