"""How `lae probe`, `lae classify` and `lae attack` train: their options, and a word on chance."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from lae_cli.shared.options import Decorator, add_options, real, whole
from lae_fast.config.presets import CLASSIFIERS

if TYPE_CHECKING:
    from lae_cli.shared.opened import Opened
    from lae_fast.analysis.classify import Recipe
    from lae_fast.models.classifier import ConvClassifier


def fit_options(
    presets: Mapping[str, Mapping[str, Any]], *, batch_size: int, learning_rate: float, updates: int
) -> tuple[Decorator, ...]:
    """The options that say how long a small network is trained, and how fast."""
    return (
        click.option(
            "--preset",
            type=click.Choice(list(presets)),
            help="Published settings: report (Bisht 2023), 10 epochs at a rate of 1e-4. Options "
            "that you give win over it.  [default: none]",
        ),
        whole(
            "--epochs",
            help="Train for exactly this many epochs.  [default: until the loss on a tenth of the "
            "training images stops falling]",
        ),
        whole(
            "--updates",
            default=updates,
            help="Without --epochs, at most this many updates. Training "
            "images that are too few to validate on, below 200, get all of them.",
        ),
        whole("--batch-size", default=batch_size, help="Training images per update."),
        real("--learning-rate", default=learning_rate, help="Adam's learning rate."),
    )


_OPTIONS = (
    whole("--neighbours", "-N", least=0, default=2, help="Generated neighbours per image."),
    *fit_options(CLASSIFIERS, batch_size=64, learning_rate=1e-2, updates=5000),
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


def with_preset(
    values: dict[str, Any], presets: Mapping[str, Mapping[str, Any]], name: str | None
) -> dict[str, Any]:
    """The values of the options; those of a preset where the command line does not give one.

    Raises:
        click.UsageError: updates and epochs are given, of which only one can say when to stop.
    """
    preset = {} if name is None else presets[name]
    values = values | {key: value for key, value in preset.items() if not _typed(key)}
    if _typed("updates") and values["epochs"] is not None:
        other = "--epochs" if _typed("epochs") else f"--preset {name}, which sets the epochs"
        raise click.UsageError(f"--updates does nothing beside {other}; drop one of them")
    return values


def _typed(option: str) -> bool:
    source = click.get_current_context().get_parameter_source(option)
    return source is ParameterSource.COMMANDLINE


def recipe_of(opened: Opened, preset: str | None, **values: Any) -> Recipe:
    """How the classifier is trained, from the values of the options."""
    from lae_fast.analysis.classify import Recipe

    return Recipe(**with_preset(values, CLASSIFIERS, preset), seed=opened.seed)


def obtain(opened: Opened, recipe: Recipe) -> tuple[ConvClassifier, dict[str, Any]]:
    """The classifier, from the run folder or trained now, and its score."""
    from lae_fast.analysis import classify

    with fitting(opened, recipe.epochs):
        return classify.obtain(
            opened.saved, recipe, opened.data_dir, say=lambda line: click.echo(line, err=True)
        )


def fitting(opened: Opened, epochs: int | None) -> AbstractContextManager[None]:
    """Around a training: without a number of epochs, the bar counts the most updates."""
    return nullcontext() if opened.bar is None or epochs is not None else opened.bar.at_most()


def chance_note(
    opened: Opened, accuracy: float, updates: int, preset: str | None, last: str
) -> list[str]:
    """One line where an accuracy on the held-out images is near chance: what to change.

    Args:
        opened: the run.
        accuracy: on its held-out images.
        updates: that were made.
        preset: the preset that was asked for.
        last: what to say if longer training does not help.
    """
    from lae_fast.analysis.probe import near_chance

    if not near_chance(accuracy, opened.images):
        return []
    if preset is not None:
        return [f"note      this is near chance; drop --preset {preset}, which trains too briefly"]
    given = click.get_current_context().params
    own_rate = ", and drop --learning-rate" if _typed("learning_rate") else ""
    if given["epochs"] is not None:
        remedy = f"give more --epochs, or drop it{own_rate}"
    elif updates >= given["updates"]:
        remedy = f"give more --updates{own_rate}"
    else:  # the validation loss stopped falling
        remedy = "drop --learning-rate" if own_rate else "give another --learning-rate"
    return [f"note      this is near chance; {remedy}; if that does not help, {last}"]


MORE_IMAGES = "it needs more training images"
"""What to say of a classifier that is near chance however long it is trained."""
