"""The result of a run on stdout: a short block, or one JSON object."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import click

from lae_cli.progress.view import RunView
from lae_cli.terminal import vocabulary
from lae_fast.errors import printable


def print_result(view: RunView, *, as_json: bool) -> None:
    """Print what the finished run came to; nothing for a run that did not get so far."""
    if view.finished is None:
        return
    values = result(view)
    click.echo(json_line(values) if as_json else "\n".join(_block(values)))


def result(view: RunView) -> dict[str, Any]:
    """The result as plain values; losses are nats an image, times seconds."""
    assert view.finished is not None
    values = dataclasses.asdict(view.finished)
    del values["time"]
    run = {
        "run": view.run_name,
        "run_dir": str(view.run_dir) if view.run_dir else None,
    }
    return run | values


def json_line(value: Any) -> str:
    """One line of strict JSON: numbers that JSON cannot hold become null."""
    return json.dumps(finite(value), allow_nan=False)


def finite(value: Any) -> Any:
    """``value`` with every NaN and infinity replaced by None."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value


def _block(values: dict[str, Any]) -> list[str]:
    duration = vocabulary.duration(values["elapsed"])
    rows = {
        "run": printable(str(values["run_dir"])),
        "status": f"{values['status']} after {values['epochs']} epochs, {duration}",
        vocabulary.VAL_LOSS: (
            f"{vocabulary.loss(values['val_loss'])} {vocabulary.LOSS_UNIT} "
            f"(best, epoch {values['best_epoch']})"
        ),
        vocabulary.TRAIN_LOSS: f"{vocabulary.loss(values['train_loss'])} {vocabulary.LOSS_UNIT}",
        vocabulary.ACCEPTANCE: vocabulary.rate(values["accept_rate"]),
        vocabulary.STEP_SIZE: vocabulary.scientific(values["step_size"]),
        "speed": f"{vocabulary.per_second(values['images_per_second'])} images/s",
    }
    return [f"{label:<12}{value}" for label, value in rows.items()]
