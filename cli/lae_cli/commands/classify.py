"""``lae classify``: a classifier trained on images and generated neighbours."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from lae_cli.shared.classifiers import classifier_options, obtain
from lae_cli.shared.opened import Opened, on_run, report

if TYPE_CHECKING:
    from lae_fast.analysis.classify import Recipe


@click.command()
@on_run
@classifier_options
def classify(opened: Opened, recipe: Recipe, as_json: bool) -> None:
    """Train the report's Algorithm 3 with RUN's model as the generator, and test it.

    A convolutional classifier sees every training image and N images decoded from latents near its
    own, all with its label. It is kept in the run folder, where `lae attack` finds it.
    """
    _, score = obtain(opened, recipe)
    values = {"run": opened.saved.path.name, "neighbours": recipe.neighbours} | score
    report(values, _lines(score), as_json=as_json)


def _lines(score: dict[str, Any]) -> list[str]:
    from lae_cli.terminal.console import has_unicode
    from lae_cli.terminal.sparkline import sparkline

    curve = sparkline(score["curve"], 40, unicode=has_unicode(sys.stdout))
    return [
        f"accuracy  {score['accuracy']:.2%}, mean over classes {score['balanced_accuracy']:.2%}",
        f"loss      {score['loss']:.4f} nats/image",
        f"epochs    {len(score['curve'])} of {score['train_images']} images  {curve}",
    ]
