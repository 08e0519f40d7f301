"""One line on stderr that says how far a verb is and how long it will take."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

from lae_cli.progress.training import can_be_live
from lae_cli.terminal import vocabulary
from lae_cli.terminal.sparkline import bar
from lae_fast.progress import heard

PATIENCE = 0.5
"""Seconds that a computation may take before it is worth a line."""
EVERY = 0.2
"""Seconds between two drawings."""
WIDTH = 24
_CLEAR = "\r\x1b[K"


class Bar:
    """Draws a share that grows, with the time that is left at the pace so far.

    Args:
        what: is computed, in a word or two.
        clock: seconds.
    """

    def __init__(self, what: str, clock: Callable[[], float] = time.monotonic) -> None:
        from lae_cli.terminal.console import has_unicode, make_console

        self._what, self._clock = what, clock
        self._unicode, self._console = has_unicode(sys.stderr), make_console(stderr=True)
        self._began, self._drawn = clock(), -float("inf")
        self._start: tuple[float, float] | None = (self._began, 0.0)
        self._bound = ""

    def __call__(self, share: float) -> None:
        """Take in how much is done; draw if it is time."""
        now = self._clock()
        if self._start is None:
            self._start = (now, share)
        if now - self._began >= PATIENCE and now - self._drawn >= EVERY:
            self._drawn = now
            self._write(_CLEAR + self._line(share, now, *self._start))

    @contextlib.contextmanager
    def at_most(self) -> Iterator[None]:
        """While entered, the share is of the most that may be computed, and it may end before."""
        self._bound = "at most "
        try:
            yield
        finally:
            # It may have jumped ahead, so the pace is measured anew.
            self._bound, self._start = "", None

    def _line(self, share: float, now: float, since: float, begin: float) -> str:
        done = share - begin
        left = (now - since) * (1 - share) / done if done > 0 else None
        full, rest = bar(share, WIDTH, unicode=self._unicode)
        time_left = "" if left is None else f"  {self._bound}{vocabulary.duration(left)} left"
        words = f"{self._what}  {full}{rest} {share:4.0%}{time_left}"
        return words[: max(0, self._console.width - 1)]

    def clear(self) -> None:
        """Leave no trace."""
        if self._drawn > 0:
            self._write(_CLEAR)

    def _write(self, text: str) -> None:
        with contextlib.suppress(OSError):  # nobody reads it any more
            sys.stderr.write(text)
            sys.stderr.flush()


@contextlib.contextmanager
def shown(what: str) -> Iterator[Bar | None]:
    """While entered, what is computed shows its progress; only where stderr is a terminal."""
    if not can_be_live():
        yield None
        return
    line = Bar(what)
    try:
        with heard(line):
            yield line
    finally:
        line.clear()
