"""How far a long computation is, told to whoever listens; without a listener it costs nothing.

    with heard(print):
        for batch in steps(batches, len(batches)):
            refine, sample = parts(200, 1000)
            with refine:
                ...
            with sample:
                ...

The listener is told the share of the whole that is done, from 0 to 1, however deep the loops that
count are nested. Nothing here imports torch.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TypeVar

Report = Callable[[float], None]
"""Receives the share that is done."""
Item = TypeVar("Item")


@dataclass
class _Span:
    """The part of the whole that the innermost computation stands for."""

    report: Report
    low: float = 0.0
    high: float = 1.0


_heard: ContextVar[_Span | None] = ContextVar("_heard", default=None)


@contextlib.contextmanager
def heard(report: Report | None) -> Iterator[None]:
    """While entered, what is computed tells ``report`` how far it is; None changes nothing."""
    if report is None:
        yield
        return
    token = _heard.set(_Span(report))
    try:
        yield
    finally:
        _heard.reset(token)


def steps(items: Iterable[Item], total: int | None = None) -> Iterator[Item]:
    """The items, each of which is an equal part of the work.

    Args:
        items: what is iterated over.
        total: how many there are; by default their length.
    """
    span = _heard.get()
    if span is None:
        yield from items
        return
    count = max(1, len(items) if total is None else total)  # type: ignore[arg-type]
    for place, item in enumerate(items):
        with _within(span, min(1.0, place / count), min(1.0, (place + 1) / count)):
            yield item


def parts(*work: float) -> list[AbstractContextManager[None]]:
    """Consecutive parts of the work, to be entered one after the other.

    Args:
        work: how much each part is, in any unit.
    """
    span, total = _heard.get(), sum(work)
    if span is None or total <= 0:
        return [contextlib.nullcontext() for _ in work]
    ends = list(itertools.accumulate(work, initial=0.0))
    return [_within(span, a / total, b / total) for a, b in itertools.pairwise(ends)]


@contextlib.contextmanager
def _within(span: _Span, low: float, high: float) -> Iterator[None]:
    """While entered, ``span`` is this part of what it was; then the part is done."""
    outer = span.low, span.high
    size = outer[1] - outer[0]
    span.low, span.high = outer[0] + low * size, outer[0] + high * size
    try:
        yield
        span.report(span.high)
    finally:
        span.low, span.high = outer


def tell(share: float) -> None:
    """Say how much of the present part is done, where no loop here counts it."""
    span = _heard.get()
    if span is not None:
        span.report(span.low + min(1.0, max(0.0, share)) * (span.high - span.low))
