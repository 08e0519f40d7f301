"""What the terminal can do, and consoles that respect it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TextIO

from rich.console import Console, RenderableType
from rich.text import Text

from lae_fast.errors import printable

PIPE_WIDTH = 1 << 12
"""Columns of a pipe, which has no edge at which a table would have to end."""
# Terminals that draw only a few hundred glyphs, whatever their encoding.
_FEW_GLYPHS = frozenset({"linux", "dumb", "vt100", "vt102", "vt220"})


def make_console(*, stderr: bool = False) -> Console:
    """A Rich console that takes text as it is: no markup, no highlighting, no emoji codes."""
    return Console(stderr=stderr, markup=False, highlight=False, emoji=False)


def show(what: RenderableType) -> None:
    """Print a table or coloured text on stdout. A terminal gets lines broken between words.

    On a pipe no line is broken, and a table has all its columns.
    """
    console = make_console()
    if not console.is_terminal:
        console.width = max(PIPE_WIDTH, console.width)
    console.print(what, soft_wrap=isinstance(what, Text) and not console.is_terminal)


def has_unicode(stream: TextIO, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether block and braille characters will come out as such.

    Python turns the C locale into UTF-8 on its own, but a user who asks for C by name means ASCII.
    """
    if environ.get("LC_ALL") in ("C", "POSIX") or environ.get("TERM") in _FEW_GLYPHS:
        return False
    encoding = getattr(stream, "encoding", None) or "ascii"
    return encoding.lower().replace("-", "").replace("_", "").startswith("utf8")


def has_colour(console: Console) -> bool:
    """Whether colour will be seen: a colour terminal, and no NO_COLOR."""
    return console.color_system is not None and not console.no_color


def can_update(console: Console) -> bool:
    """Whether lines can be redrawn in place."""
    return console.is_terminal and not console.is_dumb_terminal


def plain(text: str, style: str = "") -> Text:
    """Untrusted text for a Rich console: control characters spelled out, markup left as it is."""
    return Text(printable(text), style=style)
