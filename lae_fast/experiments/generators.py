"""What the studies of classifiers share: generators, sizes, rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from lae_fast.classify import Recipe, load_classifier, obtain
from lae_fast.experiments.lab import Lab, NotTrainedError
from lae_fast.experiments.models import report_models
from lae_fast.models.classifier import ConvClassifier
from lae_fast.saved import SavedRun

Figures = TypeVar("Figures")
ROWS = {
    "none": ("VAE", 0), "LAE, N=2": ("LAE", 2), "VAE, N=2": ("VAE", 2), "LAE, N=5": ("LAE", 5),
    "VAE, N=5": ("VAE", 5),
}  # fmt: skip
"""Rows of tables 7 to 9: generator and neighbours (without any, the generator does not matter)."""


def generators(lab: Lab, seed: int) -> dict[str, SavedRun]:
    """The report's models with 8 latents; those that are missing and must not be trained, not."""
    found = {}
    for name in ("VAE", "LAE"):
        try:
            found[name] = lab.trained(**report_models(lab)[f"{name} z=8"], seed=seed)
        except NotTrainedError as error:
            lab.complete = False
            lab.say(str(error))
    return found


def recipe(lab: Lab, neighbours: int, seed: int) -> Recipe:
    """The report's training; digits are so few that it takes a higher rate and more epochs."""
    if lab.quick:
        return Recipe(neighbours, epochs=15, learning_rate=3e-3, seed=seed)
    return Recipe(neighbours, seed=seed)


def over_seeds(
    lab: Lab, row: str, figures: Callable[[ConvClassifier, dict[str, float]], Figures]
) -> list[Figures]:
    """Figures of a row's classifier and its score, one a seed; fewer where models are missing."""
    kind, neighbours = ROWS[row]
    found = []
    for seed in lab.seeds:
        run = generators(lab, seed).get(kind)
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
