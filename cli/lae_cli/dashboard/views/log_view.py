"""The log view: what the trainer printed, or else what it said in its events."""

from __future__ import annotations

import os
from pathlib import Path

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.widget import Widget
from textual.widgets import Static

from lae_cli.dashboard.base import Base
from lae_cli.dashboard.following.frame import Frame
from lae_cli.dashboard.views.run_text import notes
from lae_cli.terminal.console import plain
from lae_fast.runs import LOG_FILE
from lae_fast.runs.files import open_regular
from lae_fast.runs.state import MOST_NOTES

MOST = 1 << 16
"""Bytes of the end of a log that are shown."""


class LogView(VerticalScroll):
    """The end of ``output.log``; it follows the trainer while its last line is in sight."""

    DEFAULT_CSS = "LogView > Static { height: auto; padding: 0 1; }"

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id)
        self._drawn: object = None

    def compose(self) -> ComposeResult:
        """One page of text."""
        yield Static(id="log-text", markup=False)

    def focus_target(self) -> Widget | None:
        """The page scrolls with the keys."""
        return self

    def show(self, board: Base) -> None:
        """Read on, if there is anything new."""
        frame = board.shown
        key = _mark(frame) if frame is not None else None
        if frame is None or key == self._drawn:
            return
        another = self._drawn is None or self._drawn[0] != frame.path  # type: ignore[index]
        follows = another or self.scroll_offset.y >= self.max_scroll_y
        self._drawn = key
        self.query_one("#log-text", Static).update(_text(frame))
        if follows:
            self.scroll_end(animate=False)


def _mark(frame: Frame) -> tuple[object, ...]:
    """Changes whenever there is something else to show."""
    try:
        facts = os.stat(frame.path / LOG_FILE)
    except OSError:
        return frame.path, len(frame.notes), frame.notes[-1:]
    return frame.path, facts.st_size, facts.st_mtime_ns


def _text(frame: Frame) -> Text:
    lines = read_end(frame.path / LOG_FILE)
    if lines:
        return Text("\n").join(map(plain, lines))
    text = Text(f"there is no {LOG_FILE}: the run was not trained in the background; ", style="dim")
    text.append("these are its messages\n" if frame.notes else "it has said nothing so far\n")
    return text.append_text(notes(frame, MOST_NOTES))


def read_end(path: Path) -> list[str]:
    """The last lines of a file, `MOST` bytes of them; none if it cannot be read."""
    with open_regular(path) as file:
        if file is None:
            return []
        begin = max(0, os.fstat(file.fileno()).st_size - MOST)
        lines = os.pread(file.fileno(), MOST, begin).decode("utf-8", errors="replace").splitlines()
        return lines[1:] if begin else lines
    return []
