"""``lae attack``: adversarial images against the classifier of `lae classify`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lae_cli.shared.classifiers import (
    MORE_IMAGES,
    chance_note,
    classifier_options,
    obtain,
    recipe_of,
)
from lae_cli.shared.opened import Opened, on_run
from lae_cli.shared.options import real, whole
from lae_cli.shared.results import PICTURES, Result
from lae_fast import progress

if TYPE_CHECKING:
    from torch import nn

    from lae_fast.analysis.attack import Attack

SHOWN = 8


@click.command()
@classifier_options
@real(
    "--epsilon",
    "epsilons",
    most=1,
    multiple=True,
    default=(0.01, 0.1, 0.2, 0.3),
    help="Radius of the L-infinity ball, in pixel units of [0, 1]; may be repeated.",
)
@click.option(
    "--converged",
    is_flag=True,
    help="Take 100 steps of 2.5 epsilon / 100 from 5 random starts, instead of 40 steps of 0.01 "
    "from the image itself.",
)
@whole("--images", "count", default=10000, help="Held-out images to attack, at most.")
@on_run(*PICTURES)
def attack(
    opened: Opened,
    epsilons: tuple[float, ...],
    converged: bool,
    count: int,
    preset: str | None,
    **options: Any,
) -> Result:
    """Attack a classifier by projected gradient descent.

    The attack knows the classifier (white box). If `lae classify` has not trained it with the same
    options yet, it is trained first.

    \b
    Example:
      lae attack latest --neighbours 5 --epsilon 0.1 --images 500
    """
    from lae_fast.analysis.attack import CONVERGED, PUBLISHED
    from lae_fast.analysis.attack import attack as run_attack
    from lae_fast.analysis.classify import is_kept

    recipe = recipe_of(opened, preset, **options)
    how = CONVERGED if converged else PUBLISHED
    images = opened.first(count)
    work = how.restarts * how.steps * len(images) * len(epsilons)
    known = is_kept(opened.path, recipe.name)
    before = 0 if known else recipe.work(lambda: opened.train_images)
    training, attacking = progress.parts(before, work)
    with training:
        model, clean = obtain(opened, recipe)
    with attacking:
        found = run_attack(model, images, how, epsilons=epsilons, seed=opened.seed)
    values = {
        "preset": preset,
        "neighbours": recipe.neighbours,
        "converged": converged,
        "accuracy": clean["accuracy"],
        "loss": clean["loss"],
        "attacks": [asdict(each) for each in found],
    }
    rows = [("clean", clean["accuracy"], clean["loss"])]
    rows += [(f"{each.epsilon:g}", each.accuracy, each.loss) for each in found]
    lines = ["epsilon  accuracy  loss (nats per image)"]
    lines += [f"{name:<7}  {accuracy:8.2%}  {loss:.4f}" for name, accuracy, loss in rows]
    lines += chance_note(opened, clean["accuracy"], clean.get("updates", 0), preset, MORE_IMAGES)
    return Result(values, lines, write=lambda out: _draw(out, opened, model, epsilons, how))


def _draw(
    out: Path, opened: Opened, model: nn.Module, epsilons: tuple[float, ...], how: Attack
) -> None:
    from lae_fast.analysis.attack import attack_images
    from lae_fast.analysis.classify import as_pictures
    from lae_fast.analysis.plots import save_rows
    from lae_fast.ops.devices import device_of

    some = opened.first(SHOWN)
    rows = [("images", some.images)]
    some = some.to(device_of(model))
    x = as_pictures(some.images)
    for epsilon in epsilons:
        found = attack_images(model, x, some.labels, epsilon, how, seed=opened.seed)
        rows.append((f"epsilon {epsilon:g}", opened.saved.as_images(found.flatten(1))))
    save_rows(out, rows)
