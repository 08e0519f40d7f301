"""Tables for terminals of any width: no cell is ever cut."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from lae_cli.terminal.console import has_unicode, plain
from lae_cli.terminal.flow import flow

INDENT = 2
_UNBOUNDED = 1 << 16


class FittingTable:
    """A table in the one style of all tables, drawn in ASCII where stdout needs it.

    Where it is wider than the terminal, it first goes without its dispensable columns; where that
    is not enough, each row becomes a name with its values below it.

    Args:
        title: above it; none if empty.
        left: headings whose columns are aligned at the left; the first column's always is.
        dispensable: headings of columns to leave out, the first one first.
    """

    def __init__(
        self, title: str = "", *, left: Sequence[str] = (), dispensable: Sequence[str] = ()
    ) -> None:
        self.title, self._left, self._dispensable = title, left, dispensable
        self._headings: list[str] = []
        self._rows: list[list[Text]] = []

    def add_column(self, heading: str) -> None:
        """One more column."""
        self._headings.append(heading)

    def add_row(self, *cells: str | Text) -> None:
        """One more row; a string is taken as it is, without markup."""
        row = [cell if isinstance(cell, Text) else plain(cell) for cell in cells]
        assert len(row) == len(self._headings)
        self._rows.append(row)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        kept = list(range(len(self._headings)))
        wide = options.update(max_width=_UNBOUNDED)
        for heading in (None, *self._dispensable):
            kept = [place for place in kept if self._headings[place] != heading]
            table = self._drawn(kept)
            if Measurement.get(console, wide, table).maximum <= options.max_width:
                yield table
                return
        yield from self._stacked(options.max_width)

    def _drawn(self, kept: Sequence[int]) -> Table:
        style = box.SIMPLE_HEAD if has_unicode(sys.stdout) else box.ASCII2
        table = Table(box=style, pad_edge=False, collapse_padding=True, title_justify="left")
        table.title = plain(self.title) if self.title else None
        for place in kept:
            heading = self._headings[place]
            at_left = not place or heading in self._left
            table.add_column(plain(heading), justify="left" if at_left else "right", no_wrap=True)
        for row in self._rows:
            table.add_row(*(row[place] for place in kept))
        return table

    def _stacked(self, width: int) -> RenderResult:
        if self.title:
            yield plain(self.title, "italic")
        for name, *cells in self._rows:
            items = [
                Text.assemble((f"{heading} ", "dim"), cell)
                for heading, cell in zip(self._headings[1:], cells, strict=True)
                if cell.plain
            ]
            heading = name.copy()
            heading.stylize("bold")
            first, *below = flow(heading, items, width - INDENT).split("\n")
            yield Text("\n").join([first, *(Text(" " * INDENT) + line for line in below)])
        yield Text()
