"""The options that name a classifier of `lae classify` and `lae attack`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from lae_cli.shared.options import add_options, real, whole

if TYPE_CHECKING:
    from lae_cli.shared.opened import Opened
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


def classifier_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options; the command passes their values to `recipe_of`."""
    return add_options(command, *_OPTIONS)


def recipe_of(opened: Opened, **values: Any) -> Recipe:
    """How the classifier is trained, from the values of the options."""
    from lae_fast.analysis.classify import Recipe

    return Recipe(**values, seed=opened.seed)


def obtain(opened: Opened, recipe: Recipe) -> tuple[ConvClassifier, dict[str, Any]]:
    """The classifier, from the run folder or trained now, and its score."""
    from lae_fast.analysis import classify

    return classify.obtain(
        opened.saved, recipe, opened.data_dir, say=lambda line: click.echo(line, err=True)
    )
