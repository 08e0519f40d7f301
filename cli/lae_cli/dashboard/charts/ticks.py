"""Tick positions and labels for linear and logarithmic axes; they never raise."""

from __future__ import annotations

import math
from collections.abc import Sequence

from textual_plot.axis_formatter import AxisFormatter

WIDEST = 8
"""Characters of a label."""


class Ticks(AxisFormatter):
    """Round numbers on a linear axis, or on one that holds log10 of the values.

    Attributes:
        count: about how many ticks there is room for.
        log: whether the axis is logarithmic.
    """

    def __init__(self, count: int = 5, log: bool = False) -> None:
        self.count, self.log = count, log
        self._step = 1.0

    def get_ticks(self, min_: float, max_: float, max_ticks: int = 8) -> list[float]:
        """Positions in [min_, max_], in the axis's own coordinates."""
        if not (math.isfinite(min_) and math.isfinite(max_) and max_ > min_):
            return []
        if not self.log:
            return self._linear(min_, max_)
        if max_ - min_ >= 1:
            return self._decades(min_, max_)
        # Within a decade there may be no power of ten: round numbers of the values themselves.
        if max(abs(min_), abs(max_)) > 300:
            return []
        values = self._linear(10.0**min_, 10.0**max_)
        return [math.log10(value) for value in values if value > 0]

    def _linear(self, low: float, high: float) -> list[float]:
        self._step = _round_step((high - low) / max(1, self.count))
        first = math.ceil(low / self._step)
        count = math.floor(high / self._step) - first + 1
        return [(first + index) * self._step for index in range(min(count, 50))]

    def _decades(self, min_: float, max_: float) -> list[float]:
        self._step = 0.0
        step = max(1.0, math.ceil((max_ - min_) / max(1, self.count)))
        first = math.ceil(min_ / step) * step
        ticks = [first + index * step for index in range(50)]
        return [tick for tick in ticks if tick <= max_]

    def get_labels_for_ticks(self, ticks: Sequence[float]) -> list[str]:
        """A short label for each tick."""
        if self.log:
            values = [10.0**tick if abs(tick) < 300 else math.inf for tick in ticks]
            return [_short(value, self._step) for value in values]
        return [_short(tick, self._step) for tick in ticks]


def _round_step(least: float) -> float:
    """The smallest of 1, 2, 5 times a power of ten that is not below ``least``."""
    power = 10.0 ** math.floor(math.log10(max(least, 1e-300)))
    return next(k * power for k in (1.0, 2.0, 5.0, 10.0) if k * power >= least * (1 - 1e-9))


def _short(value: float, step: float) -> str:
    """The fewest figures that tell ticks apart, in at most `WIDEST` characters."""
    if value == 0 or abs(value) < step / 1e6:
        return "0"
    if 1e-3 <= abs(value) < 1e6:
        decimals = max(0, -math.floor(math.log10(step))) if step else 3
        text = f"{value:.{min(decimals, 9)}f}" if step else f"{value:.3g}"
        if len(text) <= WIDEST:
            return text
    figures = math.floor(math.log10(abs(value))) - math.floor(math.log10(step)) if step else 1
    return f"{value:.{max(0, min(figures, 2))}e}".replace("e-0", "e-").replace("e+0", "e+")
