"""Who listens to a training run: a live display, plain lines for a pipe, or nobody."""

from __future__ import annotations

import sys
import time
from contextlib import AbstractContextManager, nullcontext

from lae_cli.progress.view import RunView
from lae_cli.terminal import vocabulary
from lae_fast.config import TrainConfig
from lae_fast.errors import printable
from lae_fast.runs.events import Evaluated, Event, Message, Progress, RunFinished, RunStarted

LEAST_GAP = 2.0
"""Seconds between two lines on a pipe."""
LONGEST_GAP = 30.0
"""Seconds after which a long epoch gets a line of its own."""


class Reporter:
    """Keeps a `RunView` up to date and is silent but for errors; the base of the others."""

    display: AbstractContextManager[object] = nullcontext()
    """What is on the screen while it is entered."""

    def __init__(self, config: TrainConfig) -> None:
        self.view = RunView(config)

    def __call__(self, event: Event) -> None:
        """Take in one event."""
        self.view.apply(event)
        if isinstance(event, Message) and event.level == "error":
            say(f"error: {event.text}")

    def note(self, text: str) -> None:
        """Tell the user something that is not an event."""
        self.view.note = text


class PlainReporter(Reporter):
    """Sparse lines on stderr: the start, an epoch at most every two seconds, the end."""

    def __init__(self, config: TrainConfig) -> None:
        super().__init__(config)
        self._said = -float("inf")
        self._note_said = ""
        self._epoch_said = 0

    def __call__(self, event: Event) -> None:
        """Say a line when it is due."""
        self.view.apply(event)
        self._say_note()
        gap = time.monotonic() - self._said
        match event:
            case RunStarted():
                self._line(f"run {self.view.run_dir}: {_start_line(event)}")
            case Evaluated() if gap >= LEAST_GAP:
                self._say_epoch(event)
            case Progress() if gap >= LONGEST_GAP:
                self._line(_progress_line(self.view, event))
            case Message():
                self._line(event.text if event.level == "info" else f"{event.level}: {event.text}")
            case RunFinished():
                if self.view.evaluated is not None:
                    self._say_epoch(self.view.evaluated)
                self._line(f"{event.status} after {vocabulary.duration(event.elapsed)}")

    def _say_epoch(self, event: Evaluated) -> None:
        if event.epoch != self._epoch_said:
            self._epoch_said = event.epoch
            self._line(_epoch_line(self.view, event))

    def _line(self, text: str) -> None:
        self._said = time.monotonic()
        say(text)

    def _say_note(self) -> None:
        """A note comes from a signal handler, where printing is not safe."""
        if self.view.note != self._note_said:
            self._note_said = self.view.note
            say(self.view.note)


class LiveReporter(Reporter):
    """A picture on stderr, redrawn in place three times a second."""

    def __init__(self, config: TrainConfig) -> None:
        from lae_cli.progress.live import live_picture

        super().__init__(config)
        self.display = live_picture(self.view)

    def __call__(self, event: Event) -> None:
        """Take in one event; the next redraw shows it."""
        self.view.apply(event)


def choose(config: TrainConfig, *, quiet: bool) -> Reporter:
    """The reporter that suits stderr."""
    if quiet:
        return Reporter(config)
    return LiveReporter(config) if can_be_live() else PlainReporter(config)


def can_be_live() -> bool:
    """Whether stderr is a terminal on which a picture can be redrawn in place."""
    if not sys.stderr.isatty():
        return False
    from lae_cli.terminal.console import can_update, make_console

    return can_update(make_console(stderr=True))


def say(text: str) -> None:
    """One line on stderr. When nobody reads it any more, training goes on."""
    line = printable(" ".join(text.splitlines()))
    encoding = sys.stderr.encoding or "ascii"
    try:
        sys.stderr.write(line.encode(encoding, "replace").decode(encoding) + "\n")
        sys.stderr.flush()
    except OSError:
        return


def _start_line(event: RunStarted) -> str:
    again = f"resumed at iteration {event.iteration}, " if event.iteration else ""
    return (
        f"{again}{event.model}, {event.parameters} parameters, "
        f"{event.train_images} + {event.validation_images} images, {event.device}, {event.engine}"
    )


def _epoch_line(view: RunView, event: Evaluated) -> str:
    best = " (best)" if event.best else ""
    return (
        f"epoch {event.epoch}  train {vocabulary.loss(event.train_loss)}  "
        f"val {vocabulary.loss(event.val_loss)}{best}  {_chain(view, event)}{_pace(view)}"
    )


def _progress_line(view: RunView, event: Progress) -> str:
    return (
        f"epoch {event.epoch} {view.epoch_share:.0%}  train {vocabulary.loss(event.train_loss)}  "
        f"{_chain(view, event)}{_pace(view)}"
    )


def _chain(view: RunView, event: Evaluated | Progress) -> str:
    """Acceptance and step size; nothing for a model without a chain."""
    if not view.has_chain:
        return ""
    value = view.acceptance_of(event)
    word = vocabulary.judge_acceptance(value, view.target_accept).word
    name = "accept" if view.mh else "MH off, would accept"
    step = vocabulary.scientific(event.step_size)
    return f"{name} {vocabulary.rate(value)} {word}  step {step}  "


def _pace(view: RunView) -> str:
    speed = view.progress.images_per_second if view.progress else None
    return f"{vocabulary.per_second(speed)} images/s  {vocabulary.duration(view.elapsed_now)}"
