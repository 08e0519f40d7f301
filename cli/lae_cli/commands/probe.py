"""``lae probe``: what a linear layer finds in frozen latents."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import click

from lae_cli.shared.classifiers import chance_note, fit_options, fitting, with_preset
from lae_cli.shared.opened import Opened, on_run
from lae_cli.shared.options import add_options
from lae_cli.shared.results import Result
from lae_fast.config.presets import PROBES

_NOTHING_THERE = "the latents say little about the classes: train the run for longer"


def _options(command: Callable[..., Any]) -> Callable[..., Any]:
    how = fit_options(PROBES, batch_size=1024, learning_rate=3e-2, updates=3000)
    return add_options(command, *how)


@click.command()
@_options
@on_run()
def probe(opened: Opened, preset: str | None, **options: Any) -> Result:
    """Train a linear probe of the classes on frozen latents.

    The probe is one linear layer on the mean latents that the encoder of RUN gives, scaled to a
    standard deviation of 1. With `--preset report` it is that of Bisht 2023, tables 4 to 6: a ReLU
    and one linear layer, on latents drawn from the encoder.

    \b
    Example:
      lae probe latest
      lae probe latest --preset report
    """
    from lae_fast.analysis.probe import train_probe

    how = with_preset(options, PROBES, preset)
    with fitting(opened, how["epochs"]):
        found = train_probe(
            opened.saved.model, opened.train_images, opened.images, seed=opened.seed, **how
        )
    lines = [
        f"held-out  accuracy {found.accuracy:.2%}, cross-entropy {found.loss:.3f} nats per image",
        f"training  accuracy {found.train_accuracy:.2%}, cross-entropy {found.train_loss:.3f} nats "
        "per image",
        *chance_note(opened, found.accuracy, found.updates, preset, _NOTHING_THERE),
    ]
    return Result({"preset": preset, "epochs": how["epochs"]} | asdict(found), lines)
