"""``lae probe``: what a linear layer finds in frozen latents."""

from __future__ import annotations

from dataclasses import asdict

import click

from lae_cli.shared.opened import Opened, on_run
from lae_cli.shared.options import real, whole
from lae_cli.shared.results import Result


@click.command()
@whole("--epochs", default=10, help="Epochs to train the probe for.")
@whole("--batch-size", default=1024, help="Latents per batch.")
@real("--learning-rate", default=1e-4, help="Adam's learning rate.")
@on_run()
def probe(opened: Opened, epochs: int, batch_size: int, learning_rate: float) -> Result:
    """Train a linear probe of the classes on frozen latents.

    The probe is a ReLU and one linear layer, on latents drawn from the encoder of RUN. The defaults
    are those of Bisht 2023, tables 4 to 6; more epochs give higher accuracies.

    \b
    Example:
      lae probe latest --epochs 50 --learning-rate 1e-2
    """
    from lae_fast.analysis.probe import train_probe

    found = train_probe(
        opened.saved.model,
        opened.train_images,
        opened.images,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        seed=opened.seed,
    )
    lines = [
        f"held-out  accuracy {found.accuracy:.2%}, cross-entropy {found.loss:.3f} nats per image",
        f"training  accuracy {found.train_accuracy:.2%}, cross-entropy {found.train_loss:.3f} nats "
        "per image",
    ]
    return Result({"epochs": epochs} | asdict(found), lines)
