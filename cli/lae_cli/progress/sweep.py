"""How far a sweep is, on stderr: a live picture, lines for a pipe, or nothing."""

from __future__ import annotations

import collections
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from lae_cli.progress.training import can_be_live, say
from lae_cli.terminal import vocabulary
from lae_fast.sweeps.folder import FAILED, PointState, SweepFolder

if TYPE_CHECKING:
    from rich.console import RenderableType

MOST_LINES = 12
"""Running points that are shown at once."""
_NOTE = (
    "Stopping; the running points will save their state. Press Ctrl-C again to kill them at once."
)


class Reporter:
    """Silent; the base of the others."""

    stopping = False
    display: AbstractContextManager[object] = nullcontext()
    """What is on the screen while it is entered."""

    def __call__(self, states: Sequence[PointState]) -> None:
        """Take in how far the points are."""

    def note(self, text: str) -> None:
        """Remember that a signal came; called from its handler, where printing is not safe."""
        self.stopping = True


class PlainReporter(Reporter):
    """A line on stderr when a point begins or ends."""

    def __init__(self, total: int, done: int) -> None:
        self._total, self._done = total, done
        self._status: dict[str, str] = {}
        self._said = False

    def __call__(self, states: Sequence[PointState]) -> None:
        """Say what changed."""
        if self.stopping and not self._said:
            self._said = True
            say(_NOTE)
        for state in states:
            word = "running" if state.active else state.status
            before = self._status.setdefault(state.point.name, word if not state.active else "")
            if word != before:
                self._status[state.point.name] = word
                self._done += state.done
                say(self._line(state, word))

    def _line(self, state: PointState, word: str) -> str:
        if state.status == FAILED:
            return f"{state.point.name} failed: {state.error}"
        if not state.done or state.summary is None:
            return f"{state.point.name} {word}"
        loss = vocabulary.loss(state.summary.best_val_loss)
        return (
            f"{state.point.name} {word}  val {loss}  "
            f"{vocabulary.duration(state.summary.elapsed)}  ({self._done} of {self._total} done)"
        )


class LiveReporter(Reporter):
    """A picture on stderr, redrawn in place: the whole sweep, and a line per running point."""

    def __init__(self, total: int, done: int) -> None:
        from rich.live import Live

        from lae_cli.terminal.console import has_unicode, make_console

        self._total, self._before = total, done
        self._states: Sequence[PointState] = ()
        self._console = make_console(stderr=True)
        self._unicode = has_unicode(sys.stderr)
        self.display = Live(
            console=self._console,
            get_renderable=self._draw,
            refresh_per_second=2,
            transient=True,
            redirect_stdout=False,
        )

    def __call__(self, states: Sequence[PointState]) -> None:
        """The next redraw shows them."""
        self._states = states

    def _draw(self) -> RenderableType:
        from rich.console import Group

        from lae_cli.terminal.console import plain

        done = self._before + sum(state.done for state in self._states)
        counts = collections.Counter(
            "running" if state.active else state.status for state in self._states if not state.done
        )
        words = [f"{done} of {self._total} done", *(f"{n} {word}" for word, n in counts.items())]
        room = max(1, min(MOST_LINES, self._console.height - 4))
        active = [state for state in self._states if state.active]
        parts: list[RenderableType] = [self._bar(done), plain("  ".join(words))]
        parts += [self._running(active[:room])] if active else []
        if len(active) > room:
            parts.append(plain(f"and {len(active) - room} more"))
        last = _NOTE if self.stopping else "Ctrl-C stops; run the same command again to continue"
        return Group(*parts, plain(last, vocabulary.WARN if self.stopping else vocabulary.QUIET))

    def _bar(self, done: int) -> RenderableType:
        from rich.text import Text

        from lae_cli.terminal.sparkline import bar

        full, rest = bar(done / self._total, min(60, self._console.width), unicode=self._unicode)
        return Text(no_wrap=True).append(full, vocabulary.ACCENT).append(rest, vocabulary.QUIET)

    def _running(self, active: Sequence[PointState]) -> RenderableType:
        from rich.table import Table

        from lae_cli.terminal.console import plain

        drawn = Table.grid(padding=(0, 2, 0, 0))
        drawn.add_column(no_wrap=True, overflow="ellipsis" if self._unicode else "crop")
        for _ in range(4):
            drawn.add_column(no_wrap=True)
        for state in active:
            summary = state.summary
            assert summary is not None
            drawn.add_row(
                plain(state.point.name),
                f"epoch {summary.epochs} of {state.point.config.epochs}",
                f"val {vocabulary.loss(summary.best_val_loss)}",
                f"accept {vocabulary.rate(summary.accept_rate)}",
                vocabulary.duration(summary.elapsed),
            )
        return drawn


def choose(
    folder: SweepFolder, states: Sequence[PointState], left: int, where: str, *, quiet: bool
) -> Reporter:
    """The reporter that suits stderr; it has said what begins, and where.

    Args:
        folder: of the sweep.
        states: of all its points, before anything runs.
        left: how many are to be run.
        where: in words.
        quiet: whether to say nothing at all.
    """
    if quiet:
        return Reporter()
    listed = [state for state in states if state.point.listed]
    total, done = len(listed), sum(state.done for state in listed)
    begun = "" if left == total else f", {left} to run"
    say(f"{folder.root}: {total} points{begun}; on {where}")
    return LiveReporter(total, done) if can_be_live() else PlainReporter(total, done)
