"""What the studies of classifiers share: generators, sizes, rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from lae_fast.analysis.classify import Recipe, load_classifier, obtain
from lae_fast.analysis.saved import SavedRun
from lae_fast.experiments.lab import Lab
from lae_fast.experiments.studies.models import report_models
from lae_fast.models.classifier import ConvClassifier

Figures = TypeVar("Figures")
ROWS = {"none": ("VAE z=8", 0)} | {
    f"{kind} z={z}, N={n}": (f"{kind} z={z}", n)
    for z in (2, 8)
    for n in (2, 5)
    for kind in ("LAE", "VAE")
}
"""Rows of tables 7 to 9: generator and neighbours (without any, the generator does not matter).

Bisht 2023 does not say how many latents its generators have.
"""


def recipe(lab: Lab, neighbours: int, seed: int) -> Recipe:
    """The training of Bisht 2023; digits are so few that it takes a higher rate and more epochs."""
    if lab.quick:
        return Recipe(neighbours, epochs=15, learning_rate=3e-3, seed=seed)
    return Recipe(neighbours, seed=seed)


def over_seeds(
    lab: Lab, row: str, figures: Callable[[ConvClassifier, dict[str, float]], Figures]
) -> list[Figures]:
    """Figures of a row's classifier and its score, one per seed; fewer where models are missing."""
    kind, neighbours = ROWS[row]
    found = []
    for seed in lab.seeds:
        run = lab.find(**report_models(lab)[kind], seed=seed)
        classifier = run and classifier_of(lab, run, recipe(lab, neighbours, seed))
        if classifier:
            found.append(figures(*classifier))
    return found


def classifier_of(
    lab: Lab, run: SavedRun, wanted: Recipe
) -> tuple[ConvClassifier, dict[str, float]] | None:
    """The classifier of a recipe and its score; None where it is missing and may not be trained."""
    if not lab.train and load_classifier(run.path, wanted.name) is None:
        lab.complete = False
        lab.say(f"no classifier {wanted.name} of {run.path.name}")
        return None
    return obtain(run, wanted, lab.data_dir, lab.say)
