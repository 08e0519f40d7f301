"""What `lae train` says at the end of a training: what to type next, and why it did nothing."""

from __future__ import annotations

import math
import os
import shlex

from lae_cli.progress.view import RunView
from lae_cli.terminal import vocabulary
from lae_fast.config import TrainConfig


def run_words(name: str, root: str) -> str:
    """A run as a command takes it: its name, or its path where it lies in no usual folder."""
    return shlex.quote(name if root == TrainConfig.run_root else os.path.join(root, name))


def farewell(view: RunView, config: TrainConfig) -> list[str]:
    """Lines for the end of a training: the next commands, and why it ended at once if it did."""
    if view.finished is None or view.started is None or view.run_name is None:
        return []
    run = run_words(view.run_name, config.run_root)
    limits = _reached(view, config)
    lines = []
    if view.finished.iterations == view.started.iteration > 0 and limits:
        reasons = " and ".join(why for why, _ in limits)
        lines.append(f"nothing was left to train: {reasons}")
    flags = "".join(f" {flag}" for _, flag in limits)
    return [
        *lines,
        f"draw images  lae sample {run}",
        f"look at it   lae dash {run}",
        f"train on     lae train --resume {run}{flags}",
    ]


def _reached(view: RunView, config: TrainConfig) -> list[tuple[str, str]]:
    """The limits that would end a resumed training at once, each with a flag that moves it."""
    started, finished = view.started, view.finished
    assert started is not None
    assert finished is not None
    found = []
    if finished.iterations >= started.max_epochs * started.iterations_per_epoch:
        why = f"all of its {config.epochs} epochs are done (--epochs)"
        found.append((why, f"--epochs {2 * config.epochs}"))
    stale = finished.epochs - finished.best_epoch
    if config.patience and stale >= config.patience:
        why = f"its validation loss has not fallen for {stale} epochs (--patience)"
        found.append((why, f"--patience {stale + config.patience}"))
    limit = config.max_time
    if limit is not None and finished.elapsed >= limit:
        why = f"its {vocabulary.duration(limit)} of training are used up (--max-time)"
        more = 2 * limit if finished.elapsed < 2 * limit else math.ceil(finished.elapsed) + limit
        found.append((why, f"--max-time {more:g}"))
    return found
