"""The state of a run: its events, folded. Every reader of a run knows it through this.

Part of `lae_fast.runs`, where the public names are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lae_fast.config import AUTO, has_chain
from lae_fast.config.settings import from_stored
from lae_fast.errors import ConfigError
from lae_fast.runs.events import (
    CommandTaken,
    Evaluated,
    Event,
    Heartbeat,
    Message,
    Progress,
    RunFinished,
    RunStarted,
)

LARGEST = 1 << 53
"""Numbers beyond it, which a log or settings may claim, are not calculated with."""
MOST_NOTES = 50
"""Messages and answers that are remembered."""


@dataclass
class RunState:
    """The newest event of each kind, and what follows from them.

    Losses are nats per image, times seconds. What no event has told yet is None. No value is ever
    changed in place.
    """

    config: Mapping[str, Any] = field(default_factory=dict)
    """The settings as plain values. They may be foreign: an unknown value counts as missing."""
    started: RunStarted | None = None
    progress: Progress | None = None
    evaluated: Evaluated | None = None
    best: Evaluated | None = None
    """The evaluation with the lowest validation loss."""
    checked: Evaluated | None = None
    """The last evaluation that measured how the chain mixes; most do not."""
    finished: RunFinished | None = None
    heartbeat: Heartbeat | None = None
    """The last sign of life, if nothing else has come since."""
    step_size_set: bool = False
    """Whether a viewer fixed the step size while the run was training."""
    notes: tuple[Message | CommandTaken, ...] = ()
    """The newest `MOST_NOTES`, oldest first."""
    first_event: float | None = None
    last_event: float | None = None
    """Unix times."""
    elapsed: float | None = None
    """Seconds of training at the last report."""

    def apply(self, event: Event) -> None:
        """Take in the next event of the log."""
        match event:
            case RunStarted():
                self.started, self.finished = event, None  # resumed: not finished after all
            case Progress():
                self.progress, self.heartbeat, self.elapsed = event, None, event.elapsed
            case Evaluated():
                self.evaluated, self.heartbeat, self.elapsed = event, None, event.elapsed
                self.best = event if event.best else self.best
                self.checked = self.checked if event.ess_per_step is None else event
            case Heartbeat():
                self.heartbeat = event
            case RunFinished():
                self.finished, self.heartbeat, self.elapsed = event, None, event.elapsed
            case Message() | CommandTaken():
                self.notes = (*self.notes[1 - MOST_NOTES :], event)
                if isinstance(event, CommandTaken) and event.command == "step_size":
                    self.step_size_set |= event.accepted
        self.last_event = event.time
        self.first_event = event.time if self.first_event is None else self.first_event

    # Settings

    @property
    def model(self) -> str | None:
        """The model's name."""
        return self.started.model if self.started else self.setting("model", str)

    @property
    def has_chain(self) -> bool:
        """Whether the model is trained by Langevin steps at all."""
        return has_chain(self.model)

    @property
    def mh(self) -> bool:
        """Whether Metropolis-Hastings is on; it is unless the settings say otherwise."""
        return self.config.get("mh") is not False

    @property
    def target_accept(self) -> float:
        """The acceptance rate that is aimed at."""
        value = self.config.get("target_accept")
        return float(value) if isinstance(value, int | float) and 0 < value < 1 else 0.574

    @property
    def step_size_adapts(self) -> bool:
        """Whether the step size follows the acceptance rate, and nobody has set it by hand."""
        return self.config.get("step_size", AUTO) == AUTO and not self.step_size_set

    def setting(self, name: str, kind: type) -> Any:
        """A setting; None if it is missing or of another type."""
        value = self.config.get(name)
        return value if type(value) is kind else None

    # Results

    @property
    def epochs(self) -> int:
        """Epochs completed."""
        last = self.finished.epochs if self.finished else None
        return last or (self.evaluated.epoch if self.evaluated else 0)

    @property
    def best_val_loss(self) -> float | None:
        """The lowest validation loss."""
        if self.finished is not None:
            return self.finished.val_loss
        return self.best.val_loss if self.best else None

    @property
    def val_quantity(self) -> str | None:
        """What the validation loss is, as of `TrainConfig.val_quantity`; None if not known."""
        try:
            return from_stored(self.config).val_quantity
        except (ConfigError, TypeError, AttributeError):
            return None

    @property
    def best_epoch(self) -> int | None:
        """The epoch of the lowest validation loss."""
        if self.finished is not None:
            return self.finished.best_epoch
        return self.best.epoch if self.best else None

    def result(self, name: str) -> float | None:
        """A figure as the run's end tells it, else its last evaluation, else its last report."""
        for event in (self.finished, self.evaluated, self.progress):
            if hasattr(event, name):
                return float(getattr(event, name))
        return None

    # Time

    @property
    def began(self) -> float | None:
        """Unix time at which the run was started or last resumed."""
        return self.started.time if self.started else self.first_event

    @property
    def acceptance(self) -> float | None:
        """As of `acceptance_of`, at the last report."""
        return None if self.progress is None else self.acceptance_of(self.progress)

    def acceptance_of(self, event: Progress | Evaluated) -> float:
        """The acceptance that an event reports; without MH, the one that MH would have had."""
        return event.accept_rate if self.mh else event.accept_prob

    @property
    def seconds_left(self) -> float | None:
        """Seconds left at the last report if every epoch runs, and at most until the time limit."""
        if self.finished is not None:
            return None
        left = self.progress.seconds_left if self.progress else None
        limit = self.config.get("max_time")
        if isinstance(limit, int | float):
            limit = max(0.0, limit - (self.elapsed or 0.0))
            left = limit if left is None else min(left, limit)
        return left

    @property
    def epoch_seconds(self) -> float | None:
        """Seconds of training per epoch, at the pace of the last report."""
        if self.started is None or self.progress is None:
            return None
        pace, images = self.progress.images_per_second, self.started.train_images
        return images / pace if pace > 0 and 0 < images < LARGEST else None

    @property
    def epoch_seconds_left(self) -> float | None:
        """Seconds left of the present epoch, at the pace of the last report."""
        each = None if self.finished is not None else self.epoch_seconds
        return None if each is None else (1 - self.epoch_share) * each

    @property
    def least_seconds_left(self) -> float | None:
        """Seconds left if no validation loss is the best any more, so that early stopping ends it.

        `seconds_left` where the run does not stop early.
        """
        patience: int = self.setting("patience", int) or 0
        each, rest = self.epoch_seconds, self.seconds_left
        if each is None or self.epoch_seconds_left is None or not 0 < patience < LARGEST:
            return rest
        stale = self.evaluated.epoch - self.best.epoch if self.evaluated and self.best else -1
        epochs = min(max(0, patience - stale - 1), patience)
        least = self.epoch_seconds_left + epochs * each
        return least if rest is None else min(least, rest)

    @property
    def share(self) -> float:
        """The part of the run that is done at the last report; see `share_after`."""
        return self.share_after(self.elapsed or 0.0)

    def share_after(self, seconds: float) -> float:
        """The part of the run that is done, by iterations or by time, whichever ends it sooner."""
        if self.started is None or self.progress is None:
            return 0.0
        total = self.started.max_epochs * self.started.iterations_per_epoch
        limit = self.config.get("max_time")
        by_time = 0.0
        if isinstance(limit, int | float) and limit > 0:
            by_time = min(1.0, max(0.0, seconds / limit))
        return max(_share(self.progress.iteration, total), by_time)

    @property
    def epoch_share(self) -> float:
        """The part of the present epoch that is done."""
        if self.started is None or self.progress is None:
            return 0.0
        each = self.started.iterations_per_epoch
        return _share(self.progress.iteration - (self.progress.epoch - 1) * each, each)


def _share(done: int, total: int) -> float:
    """Between 0 and 1, however large the numbers that a log claims."""
    return min(max(0, done), total) / total if total > 0 else 0.0
