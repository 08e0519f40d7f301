"""What the terminal lets the views draw with."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Glyphs:
    """What the terminal allows."""

    unicode: bool = True
    colour: bool = True

    @property
    def dot(self) -> str:
        """A separator."""
        return " · " if self.unicode else " | "

    @property
    def dash(self) -> str:
        """Between the ends of a range."""
        return "–" if self.unicode else "-"
