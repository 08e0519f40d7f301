"""Charts of one line: a series, a share."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

_BLOCKS = "▁▂▃▄▅▆▇█"
_ASCII = "_.-~=+*#"


def sparkline(
    values: Sequence[float],
    width: int,
    *,
    low: float | None = None,
    high: float | None = None,
    unicode: bool = True,
) -> str:
    """The whole series in at most ``width`` characters; each shows the mean of its share.

    Args:
        values: the series; what is not finite is drawn as ``!``.
        width: characters.
        low: the value at the bottom; the smallest one shown when None.
        high: the value at the top; the largest one shown when None.
        unicode: block characters, or ASCII ones.
    """
    if width <= 0 or not values:
        return ""
    means = _bin(values, width)
    finite = [value for value in means if math.isfinite(value)]
    bottom = low if low is not None else min(finite, default=0.0)
    top = high if high is not None else max(finite, default=1.0)
    levels = _BLOCKS if unicode else _ASCII
    return "".join(_level(value, bottom, top, levels) for value in means)


def bar(share: float, width: int, *, unicode: bool = True) -> tuple[str, str]:
    """A progress bar as its done and its open part, ``width`` characters together."""
    done = min(width, max(0, round(share * width)))
    return ("━" if unicode else "=") * done, ("─" if unicode else "-") * (width - done)


def _bin(values: Sequence[float], width: int) -> list[float]:
    count = len(values)
    if count <= width:
        return list(values)
    edges = [index * count // width for index in range(width + 1)]
    return [sum(values[a:b]) / (b - a) for a, b in itertools.pairwise(edges)]


def _level(value: float, bottom: float, top: float, levels: str) -> str:
    if not math.isfinite(value):
        return "!"
    span = top - bottom
    share = (value - bottom) / span if span > 0 else 0.0
    return levels[min(len(levels) - 1, max(0, int(share * len(levels))))]
