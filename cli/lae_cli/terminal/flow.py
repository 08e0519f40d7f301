"""Names and values one after the other, broken between them and never inside."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

GAP = 2


def flow(heading: Text, items: Sequence[Text], width: int) -> Text:
    """A heading and items on one line where they fit, else the items in columns below it.

    An item that is wider than ``width`` has a line to itself, and goes on in the next.
    """
    gap = Text(" " * GAP)
    line = gap.join([heading, *items])
    if line.cell_len <= width or not items:
        return line
    widest = max(item.cell_len for item in items)
    across = max(1, (width + GAP) // (widest + GAP))
    rows = [gap.join(_padded(row, widest)) for row in _chunks(items, across)]
    return Text("\n").join([heading, *rows])


def _chunks(items: Sequence[Text], size: int) -> list[Sequence[Text]]:
    return [items[place : place + size] for place in range(0, len(items), size)]


def _padded(items: Sequence[Text], width: int) -> list[Text]:
    """All but the last as wide as ``width``."""
    *others, last = items
    return [*(item + Text(" " * (width - item.cell_len)) for item in others), last]
