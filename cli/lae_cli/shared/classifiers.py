"""The options that name a classifier of `lae classify` and `lae attack`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from lae_cli.shared.options import LARGEST, FiniteRange

if TYPE_CHECKING:
    from lae_cli.shared.opened import Opened
    from lae_fast.analysis.classify import Recipe
    from lae_fast.models.classifier import ConvClassifier

_OPTIONS = (
    click.option(
        "--neighbours", "-N", type=click.IntRange(0, LARGEST), default=2, show_default=True,
        help="Generated neighbours of every image.",
    ),
    click.option("--epochs", type=click.IntRange(1, LARGEST), default=10, show_default=True),
    click.option(
        "--learning-rate", type=FiniteRange(min=0, min_open=True), default=1e-4,
        show_default=True,
    ),
    click.option(
        "--per-class", type=click.IntRange(1, LARGEST), default=None,
        help="Train on so many labels a class only.",
    ),
    click.option(
        "--imbalance", type=FiniteRange(0, 1, min_open=True), default=None, metavar="SHARE",
        help="Thin the classes geometrically, the last one to this share.",
    ),
)  # fmt: skip


def classifier_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options; the command gets them as ``recipe``."""

    @functools.wraps(command)
    def with_recipe(
        opened: Opened,
        neighbours: int,
        epochs: int,
        learning_rate: float,
        per_class: int | None,
        imbalance: float | None,
        **rest: Any,
    ) -> None:
        from lae_fast.analysis.classify import Recipe

        recipe = Recipe(neighbours, epochs, learning_rate, per_class, imbalance, opened.seed)
        command(opened, recipe=recipe, **rest)

    decorated: Callable[..., None] = with_recipe
    for decorate in reversed(_OPTIONS):
        decorated = decorate(decorated)
    return decorated


def obtain(opened: Opened, recipe: Recipe) -> tuple[ConvClassifier, dict[str, Any]]:
    """The classifier, from the run folder or trained now, and its score."""
    from lae_fast.analysis import classify

    return classify.obtain(
        opened.saved, recipe, opened.data_dir, say=lambda line: click.echo(line, err=True)
    )
