"""The lines of a chart, and histories made short enough for a screen with their extremes kept."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from lae_cli.dashboard.following.columns import LARGEST, Floats, extremes

WINDOWS = (1, 5, 20, 100, 500)
"""Points that smoothing averages over; 1 is none."""


@dataclass(frozen=True, eq=False)
class Series:
    """A line of a chart. x and y are (n,), of any values; x need not be sorted."""

    label: str
    x: Floats
    y: Floats
    colour: str
    faint: bool = False
    """Drawn behind the others, never smoothed, not read out; the axes make no room for it."""
    dim: bool = False
    """Drawn darker, for the lesser of two lines in one colour."""
    run: str = ""
    """Whose line it is, where there are several runs with several lines each."""

    @property
    def style(self) -> str:
        """The colour in which it is drawn and named."""
        return f"dim {self.colour}" if self.dim else self.colour


def drawable(series: Series, *, log_x: bool, log_y: bool) -> Series:
    """The points that can be drawn, in order of x, in the axes' own coordinates (log10)."""
    x, y = _padded(series.x), _padded(series.y)
    keep = (np.abs(x) < LARGEST) & (np.abs(y) < LARGEST)
    if log_x:
        keep &= x > 0
    if log_y:
        keep &= y > 0
    x, y = x[keep], y[keep]
    if len(x) > 1 and np.diff(x).min() < 0:  # a resumed run counts on from its checkpoint
        order = np.argsort(x, kind="stable")
        x, y = x[order], y[order]
    return replace(series, x=np.log10(x) if log_x else x, y=np.log10(y) if log_y else y)


def _padded(values: Floats) -> Floats:
    """Values and, up to a multiple of 1,024, NaN.

    NumPy keeps some freed blocks of every size below 1 KiB: the flags of a line that grows point
    by point would leave megabytes there in a quarter of an hour.
    """
    return np.pad(values, (0, -len(values) % 1024), constant_values=np.nan)


def smooth(x: Floats, y: Floats, window: int) -> tuple[Floats, Floats]:
    """Moving average over ``window`` points, centred and shorter at the ends.

    Long windows average short blocks first, so the cost does not grow with the window. Sums stay
    inside a window: one huge value cannot spoil the rest, as it would in a running sum.
    """
    block = max(1, window // 20)
    if block > 1:
        starts = np.arange(0, len(x), block)
        sizes = np.diff(np.append(starts, len(x)))
        x, y = np.add.reduceat(x, starts) / sizes, np.add.reduceat(y, starts) / sizes
    width = min(max(1, window // block), len(y))
    if width <= 1:
        return x, y
    ones = np.ones(width)
    counts = np.convolve(np.ones(len(y)), ones, mode="same")
    return x, np.convolve(y, ones, mode="same") / counts


def envelope(x: Floats, y: Floats, low: float, high: float, buckets: int) -> tuple[Floats, Floats]:
    """At most two points per bucket of [low, high], its extremes, and both ends.

    One point beyond each end is kept, so that a line leaves the chart where it should.
    """
    first = max(0, int(np.searchsorted(x, low, side="left")) - 1)
    last = int(np.searchsorted(x, high, side="right")) + 1
    x, y = x[first:last], y[first:last]
    picked = extremes(x, y, low, high, buckets)
    return x[picked], y[picked]


def nearest(x: Floats, y: Floats, at: float, *, reach: float = np.inf) -> float | None:
    """The value at the point closest to ``at`` on a sorted axis.

    None where there is no point, or the line ends more than ``reach`` away.
    """
    if not len(x) or not x[0] - reach <= at <= x[-1] + reach:
        return None
    index = int(np.searchsorted(x, at))
    index = min(max(index, 0), len(x) - 1)
    if index > 0 and at - x[index - 1] < x[index] - at:
        index -= 1
    return float(y[index])
