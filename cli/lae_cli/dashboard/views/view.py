"""What the views draw."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from textual.widget import Widget

from lae_cli.dashboard.following.story import Frame
from lae_cli.terminal.glyphs import Glyphs
from lae_fast.runs import Summary


@dataclass(frozen=True, eq=False)
class Shown:
    """The state of the application that views draw."""

    frame: Frame | None
    """The open run, now or at the moment a replay has reached."""
    overlay: tuple[Frame, ...]
    """Marked runs, the open one left out."""
    summaries: tuple[Summary, ...]
    marked: tuple[Path, ...]
    evaluation: int | None
    """Which evaluation with a snapshot is looked at; None is the newest."""
    glyphs: Glyphs
    problem: str | None = None

    @property
    def frames(self) -> tuple[Frame, ...]:
        """The open run and the marked ones."""
        return ((self.frame,) if self.frame else ()) + self.overlay


class View(Protocol):
    """A tab of the application."""

    def show(self, shown: Shown) -> None:
        """Draw."""

    def focus_target(self) -> Widget | None:
        """What takes the keys when the view opens."""
