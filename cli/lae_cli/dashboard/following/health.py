"""Signs that a run is in trouble, each with a word for those who see no colour."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from lae_cli.dashboard.following.series import Floats
from lae_cli.dashboard.following.story import Frame
from lae_cli.terminal import vocabulary
from lae_fast.runs import SILENT_AFTER

RECENT = 20
"""Progress events that count as recent."""
STUCK_BELOW = 0.01
"""Acceptance under which a chain does not move."""
RHAT_LIMIT = 1.5
"""Of the trainer's short check: a few hundred steps leave a healthy chain at 1.0 to 1.3."""
SILENT_WORD = "no heartbeat for"


@dataclass(frozen=True)
class Flag:
    """One trouble: a word, what it means, and how bad it is."""

    word: str
    text: str
    bad: bool = True

    @property
    def colour(self) -> str:
        """The colour of its badness."""
        return vocabulary.BAD if self.bad else vocabulary.WARN


def flags(frame: Frame) -> tuple[Flag, ...]:
    """What is wrong with a run, worst first."""
    return tuple(sorted(_flags(frame), key=lambda flag: not flag.bad))


def _flags(frame: Frame) -> Iterator[Flag]:
    if frame.problem is not None and frame.summary.last_event is None:
        yield Flag("no data", frame.problem)
        return
    if frame.status == "crashed":
        yield Flag("crashed", "the trainer's process is gone and said no goodbye")
    quiet = _quiet_for(frame)
    if quiet is not None and quiet > SILENT_AFTER:
        yield Flag("silent", f"{SILENT_WORD} {vocabulary.duration(quiet)}")
    if _not_finite(frame):
        yield Flag("NaN", "a loss or gradient is not finite")
    elif _diverging(frame.history.column("train_loss")):
        yield Flag("diverging", "the training loss is far above its lowest and rising")
    if _stuck(frame):
        what = "no proposal is accepted" if frame.mh else "MH would accept no proposal"
        yield Flag("stuck chain", f"{what}; a smaller step size moves it", bad=frame.mh)
    rhat = frame.evaluated.split_rhat if frame.evaluated else None
    if rhat is not None and rhat > RHAT_LIMIT:
        yield Flag("slow mixing", f"{vocabulary.RHAT} {rhat:.2f} > {RHAT_LIMIT}", bad=False)


def _quiet_for(frame: Frame) -> float | None:
    """Seconds since the last word of a run that should be talking; None otherwise."""
    if not frame.controllable or frame.last_event is None:
        return None
    return frame.now - frame.last_event


def _not_finite(frame: Frame) -> bool:
    last, ended = frame.progress, frame.finished
    values = [last.train_loss, last.grad_norm] if last else []
    values += [frame.evaluated.val_loss] if frame.evaluated else []
    values += [ended.train_loss] if ended and ended.iterations else []
    return not all(map(math.isfinite, values))


def _stuck(frame: Frame) -> bool:
    if not frame.chain:
        return False
    recent = frame.history.column("accept_rate" if frame.mh else "accept_prob")[-RECENT:]
    enough = len(recent) >= RECENT // 2 and not (frame.finished and frame.progress is None)
    return bool(enough and np.nanmax(np.append(recent, 0.0)) < STUCK_BELOW)


def _diverging(losses: Floats) -> bool:
    """Recent losses above the lowest by more than half the way there ever was, and rising."""
    if len(losses) < 3 * RECENT:
        return False
    means = losses[: len(losses) // RECENT * RECENT].reshape(-1, RECENT).mean(axis=1)
    means = means[np.isfinite(means)]
    if len(means) < 3:
        return False
    lowest, now = int(np.argmin(means)), float(means[-1])
    way = float(means[: lowest + 1].max() - means[lowest])
    risen = now - float(means[lowest])
    scale = max(way, 0.1 * abs(float(means[lowest])), 1e-6)
    return bool(lowest < len(means) - 1 and risen > 0.5 * scale and now > means[-2])
