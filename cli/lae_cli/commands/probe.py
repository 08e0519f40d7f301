"""``lae probe``: what a linear layer finds in frozen latents."""

from __future__ import annotations

from dataclasses import asdict

import click

from lae_cli.shared.opened import Opened, on_run, report
from lae_cli.shared.options import LARGEST, FiniteRange


@click.command()
@on_run
@click.option("--epochs", type=click.IntRange(1, LARGEST), default=10, show_default=True)
@click.option("--batch-size", type=click.IntRange(1, LARGEST), default=1024, show_default=True)
@click.option(
    "--learning-rate", type=FiniteRange(min=0, min_open=True), default=1e-4, show_default=True
)
def probe(
    opened: Opened, epochs: int, batch_size: int, learning_rate: float, as_json: bool
) -> None:
    """Train ReLU and one linear layer on latents drawn from RUN's encoder, and test them.

    The defaults are the report's (tables 4 to 6). They stop early: more epochs find more.
    """
    from lae_fast.analysis.probe import train_probe

    result = train_probe(
        opened.saved.model, opened.train_images, opened.images, epochs=epochs,
        batch_size=batch_size, learning_rate=learning_rate, seed=opened.seed,
    )  # fmt: skip
    lines = [
        f"held-out  {result.accuracy:.2%}, cross-entropy {result.loss:.3f} nats",
        f"training  {result.train_accuracy:.2%}, cross-entropy {result.train_loss:.3f} nats",
    ]
    values = {"run": opened.saved.path.name, "epochs": epochs} | asdict(result)
    report(values, lines, as_json=as_json)
