"""What the studies of classifiers share: generators, sizes, rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lae_fast.analysis.classify import Recipe, load_classifier, obtain
from lae_fast.analysis.saved import SavedRun
from lae_fast.config.presets import CLASSIFIERS
from lae_fast.experiments.lab import Lab
from lae_fast.experiments.studies.models import report_models
from lae_fast.models.classifier import ConvClassifier

Classifier = tuple[ConvClassifier, dict[str, Any]]
"""With its `lae_fast.analysis.classify.Score` as plain values."""
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
    settings = dict(CLASSIFIERS["report"]) | (
        {"epochs": 15, "learning_rate": 3e-3} if lab.quick else {}
    )
    return Recipe(neighbours, **settings, seed=seed)


def classifiers(lab: Lab, row: str) -> Iterator[Classifier]:
    """A row's classifiers, one per seed; missing ones are left out."""
    kind, neighbours = ROWS[row]
    for run in lab.each_seed(report_models(lab)[kind]):
        found = classifier_of(lab, run, recipe(lab, neighbours, run.config.seed))
        if found is not None:
            yield found


def classifier_of(lab: Lab, run: SavedRun, wanted: Recipe) -> Classifier | None:
    """The classifier of a recipe; None where it is missing and may not be trained."""
    if not lab.train and load_classifier(run.path, wanted.name) is None:
        lab.complete = False
        lab.say(f"no classifier {wanted.name} of {run.path.name}")
        return None
    return obtain(run, wanted, lab.data_dir, lab.say)
