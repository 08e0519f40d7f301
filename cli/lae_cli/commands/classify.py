"""``lae classify``: a classifier trained on images and generated neighbours."""

from __future__ import annotations

import sys
from typing import Any

import click

from lae_cli.shared.classifiers import (
    MORE_IMAGES,
    chance_note,
    classifier_options,
    obtain,
    recipe_of,
)
from lae_cli.shared.opened import Opened, on_run
from lae_cli.shared.results import Result


@click.command()
@classifier_options
@on_run()
def classify(opened: Opened, preset: str | None, **options: Any) -> Result:
    """Train a classifier on images and generated neighbours.

    A convolutional classifier is trained on each image and on N images decoded from latents near
    the image's own, all with the image's label (Bisht 2023, Algorithm 3). RUN's model generates
    them. Training ends when the loss on a tenth of the training images stops falling, unless
    `--epochs` or `--preset` say when, or the images are few. The run folder keeps the classifier:
    `lae attack` finds it.

    \b
    Example:
      lae classify latest --neighbours 5 --per-class 100
    """
    recipe = recipe_of(opened, preset, **options)
    _, score = obtain(opened, recipe)
    lines = _lines(score, by_epoch=recipe.epochs is not None)
    lines += chance_note(opened, score["accuracy"], score.get("updates", 0), preset, MORE_IMAGES)
    return Result({"preset": preset, "neighbours": recipe.neighbours} | score, lines)


def _lines(score: dict[str, Any], *, by_epoch: bool) -> list[str]:
    return [
        f"accuracy  {score['accuracy']:.2%} of held-out images; mean over classes "
        f"{score['balanced_accuracy']:.2%}",
        f"loss      {score['loss']:.4f} nats per image",
        f"training  {score['train_images']} images{_course(score, by_epoch=by_epoch)}",
    ]


def _course(score: dict[str, Any], *, by_epoch: bool) -> str:
    """How the training went, in words and a curve."""
    from lae_cli.terminal.console import has_unicode
    from lae_cli.terminal.sparkline import sparkline
    from lae_fast.analysis.fitting import can_validate

    if not score["curve"]:
        few = "updates to look" if can_validate(score["train_images"]) else "images to validate on"
        return f", {score['updates']} updates; too few {few}"
    curve = sparkline(score["curve"], 40, unicode=has_unicode(sys.stdout))
    every = "epoch" if by_epoch else "look at the validation images"
    return f"; accuracy at each {every} {curve}"
