"""``lae attack``: adversarial images against the classifier of `lae classify`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lae_cli.shared.classifiers import classifier_options, obtain
from lae_cli.shared.opened import PICTURES, Opened, on_run, out_option, report
from lae_cli.shared.options import LARGEST, FiniteRange

if TYPE_CHECKING:
    from torch import nn

    from lae_fast.analysis.attack import Attack
    from lae_fast.analysis.classify import Recipe

SHOWN = 8


@click.command()
@on_run
@classifier_options
@click.option(
    "--epsilon",
    "epsilons",
    type=FiniteRange(0, 1, min_open=True),
    multiple=True,
    default=(0.01, 0.1, 0.2, 0.3),
    show_default=True,
    help="Radius; may be repeated.",
)
@click.option(
    "--converged",
    is_flag=True,
    help="100 steps of 2.5 epsilon / 100, 5 random starts, instead of 40 of 0.01 from the image.",
)
@click.option(
    "--images",
    "count",
    type=click.IntRange(1, LARGEST),
    default=10000,
    show_default=True,
    help="Held-out images to attack.",
)
@out_option(*PICTURES)
def attack(
    opened: Opened,
    recipe: Recipe,
    epsilons: tuple[float, ...],
    converged: bool,
    count: int,
    as_json: bool,
    out: Path | None,
) -> None:
    """Attack a classifier of RUN by projected gradient descent in the L-infinity ball.

    White box, pixels of [0, 1]. The classifier is trained first if `lae classify` has not been run
    with the same options.
    """
    from lae_fast.analysis.attack import CONVERGED, PUBLISHED
    from lae_fast.analysis.attack import attack as run_attack

    model, clean = obtain(opened, recipe)
    how = CONVERGED if converged else PUBLISHED
    results = run_attack(model, opened.first(count), how, epsilons=epsilons, seed=opened.seed)
    if out is not None:
        _draw(out, opened, model, epsilons, how)
    values = {
        "run": opened.saved.path.name, "neighbours": recipe.neighbours, "converged": converged,
        "accuracy": clean["accuracy"], "loss": clean["loss"],
        "attacks": [asdict(result) for result in results],
    }  # fmt: skip
    lines = [f"epsilon  accuracy  loss\n{'clean':7}  {clean['accuracy']:8.2%}  {clean['loss']:.4f}"]
    lines += [f"{r.epsilon:<7g}  {r.accuracy:8.2%}  {r.loss:.4f}" for r in results]
    report(values, lines, as_json=as_json, out=out)


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
