"""The options that name a classifier of `lae classify` and `lae attack`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from lae_cli.shared.options import add_options, real, whole

if TYPE_CHECKING:
    from lae_cli.shared.opened import Opened
    from lae_cli.shared.results import Result
    from lae_fast.analysis.classify import Recipe
    from lae_fast.models.classifier import ConvClassifier

_OPTIONS = (
    whole("--neighbours", "-N", least=0, default=2, help="Generated neighbours per image."),
    whole("--epochs", default=10, help="Epochs to train the classifier for."),
    real("--learning-rate", default=1e-4, help="Adam's learning rate."),
    whole("--per-class", help="Train on at most this many images per class.  [default: all]"),
    real(
        "--imbalance",
        most=1,
        metavar="SHARE",
        help="Thin the classes geometrically: keep all images of the first class and this share of "
        "the last.  [default: keep all]",
    ),
)


def classifier_options(command: Callable[..., Result]) -> Callable[..., Result]:
    """Add the options; the command gets them as ``recipe``."""

    @functools.wraps(command)
    def with_recipe(
        opened: Opened,
        *,
        neighbours: int,
        epochs: int,
        learning_rate: float,
        per_class: int | None,
        imbalance: float | None,
        **rest: Any,
    ) -> Result:
        from lae_fast.analysis.classify import Recipe

        recipe = Recipe(neighbours, epochs, learning_rate, per_class, imbalance, opened.seed)
        return command(opened, recipe=recipe, **rest)

    return add_options(with_recipe, *_OPTIONS)


def obtain(opened: Opened, recipe: Recipe) -> tuple[ConvClassifier, dict[str, Any]]:
    """The classifier, from the run folder or trained now, and its score."""
    from lae_fast.analysis import classify

    return classify.obtain(
        opened.saved, recipe, opened.data_dir, say=lambda line: click.echo(line, err=True)
    )
