"""A run's events as a TensorBoard log."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np

from lae_fast.analysis import snapshots
from lae_fast.errors import ConfigError, RunError, printable
from lae_fast.runs import EventReader, is_run, read_config
from lae_fast.runs.events import Evaluated, Progress, plain

PICTURES = ("prior_samples", "reconstructions")
"""What is shown of each snapshot."""
_NO_SERIES = {"time", "epoch", "iteration", "best"}


def write_log(run: Path, folder: Path) -> int:
    """Write every number of a run's progress and epochs, and its pictures, by iteration.

    Tags begin with ``iteration/`` or ``epoch/`` and go on with the field of the event, such as
    ``epoch/val_loss`` in nats per image.

    Args:
        run: the run folder.
        folder: where to write; made when missing.

    Returns:
        how many events were written.

    Raises:
        ConfigError: tensorboard is not installed.
        RunError: not a run folder, or ``folder`` holds a log already, whose curves would be mixed
            with these.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ConfigError(
            "--format tensorboard needs tensorboard; pip install 'lae-fast[export]'"
        ) from error
    if not is_run(run):
        raise RunError(f"{printable(str(run))} is not a run folder")
    if any(folder.glob("events.out.tfevents.*")):
        raise RunError(f"{printable(folder)} holds a TensorBoard log already; choose another --out")
    count = 0
    with SummaryWriter(str(folder)) as log:
        config = json.dumps(read_config(run), indent=2)
        log.add_text("config", f"```\n{config}\n```")
        for event in EventReader(run).poll():
            if not isinstance(event, Progress | Evaluated):
                continue
            count += 1
            level = "iteration" if isinstance(event, Progress) else "epoch"
            for tag, value in _numbers(event).items():
                log.add_scalar(f"{level}/{tag}", value, event.iteration, walltime=event.time)
            if isinstance(event, Evaluated) and event.snapshot is not None:
                for name, images in _pictures(run, event.snapshot).items():
                    log.add_images(name, images, event.iteration, walltime=event.time)
    return count


def _numbers(event: Progress | Evaluated) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, value in plain(event).items():
        values = value if isinstance(value, tuple) else (value,)
        for place, number in enumerate(values):
            tag = f"{name}/{place}" if isinstance(value, tuple) else name
            if name not in _NO_SERIES and isinstance(number, int | float):
                found[tag] = float(number)
    return {tag: number for tag, number in found.items() if not math.isnan(number)}


def _pictures(
    run: Path, snapshot: str
) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.uint8]]]:
    """Images ``(k, c, h, w)`` uint8 by name; none of a snapshot that is gone or torn."""
    found = snapshots.read(run, snapshot, PICTURES) or {}
    return {
        name: images
        for name, images in found.items()
        if images.dtype == np.uint8 and images.ndim == 4 and images.shape[1] in (1, 3)
    }
