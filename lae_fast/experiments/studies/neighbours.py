"""Table 7 of Bisht 2023: classifiers trained on generated neighbours; and what it leaves open.

Bisht 2023 names class imbalance and few labels as future work: both are here, as curves.
"""

from __future__ import annotations

import dataclasses

from lae_fast.analysis import plots
from lae_fast.analysis.classify import Recipe
from lae_fast.experiments.lab import Lab
from lae_fast.experiments.outcome import (
    NOT_RUN,
    Cell,
    Outcome,
    ResultTable,
    Stat,
    make_row,
    over_seeds,
    stat,
)
from lae_fast.experiments.studies.generators import ROWS, classifier_of, classifiers, recipe
from lae_fast.experiments.studies.models import report_models
from lae_fast.experiments.studies.published import NEIGHBOURS

COLUMNS = {
    "neighbours": "",
    "accuracy, Bisht 2023": ".2%",
    "accuracy": ".2%",
    "loss, Bisht 2023": ".3f",
    "loss": ".3f",
}
NOTE = "Bisht 2023 does not say how many latents the generators have."
MEAN_ACCURACY = "accuracy, mean over classes"
Curves = dict[str, tuple[list[float], list[float], list[float] | None]]


def run(lab: Lab) -> Outcome:
    """Train the classifiers of Bisht 2023, then those on thinned training sets."""
    few, ratios = ((3, 10, 30), (0.3, 0.1, 0.03)) if lab.quick else ((5, 20, 100), (0.1, 0.01))
    few_table, few_curves = _few(lab, few)
    odd_table, odd_curves = _imbalance(lab, ratios)
    pictures = {}
    if few_curves and odd_curves:
        for file, curves, x, y in (
            ("few-labels.png", few_curves, "labels per class", "accuracy"),
            ("imbalance.png", odd_curves, "share left of the rarest class", MEAN_ACCURACY),
        ):
            plots.save_curves(lab.picture(file), curves, x_label=x, y_label=y, log_x=True)
        pictures = {
            "few-labels.png": "Held-out accuracy against the number of labels.",
            "imbalance.png": "Held-out accuracy, mean over classes, against imbalance.",
        }
    setting = (
        "Digits; convolutional classifier, 15 epochs of Adam at 3e-3."
        if lab.quick
        else "MNIST; convolutional classifier, 10 epochs of Adam at 1e-4, batches of 128."
    ) + (
        " The generators have 2 and 8 latents, the LAE as in Bisht 2023; they were trained on all "
        "training images, without labels."
    )
    tables = [_table(lab), few_table, odd_table]
    return lab.outcome(
        "neighbours", "Do generated neighbours help a classifier?", setting, tables, pictures
    )


def _table(lab: Lab) -> ResultTable:
    rows: list[list[Cell]] = []
    for name in ROWS:
        accuracy, loss = NEIGHBOURS.get(name, (None, None))
        printed: dict[str, Cell] = {"accuracy, Bisht 2023": accuracy, "loss, Bisht 2023": loss}
        ours = over_seeds(
            {key: score[key] for key in ("accuracy", "loss")} for _, score in classifiers(lab, name)
        )
        rows.append(make_row(COLUMNS, name, printed, ours))
    title = "Table 7 of Bisht 2023: held-out accuracy, and loss in nats per image"
    return ResultTable(title, COLUMNS, rows, NOTE)


def _few(lab: Lab, counts: tuple[int, ...]) -> tuple[ResultTable, Curves]:
    """More epochs of fewer labels."""
    labels = len(lab.splits.train.class_names)
    recipes = {
        float(count): dataclasses.replace(
            recipe(lab, 0, 0), epochs=max(8, 4000 // (labels * count) + 1), per_class=count
        )
        for count in counts
    }
    epochs = ", ".join(str(wanted.epochs) for wanted in recipes.values())
    repeats = 1 if lab.quick else 3
    note = (
        f"Learning rate 3e-3; {epochs} epochs; {repeats} draws of labels and classifiers for each "
        "generator. The generators know all images, so this is semi-supervised learning; the "
        "first row is not."
    )
    title = "Few labels: held-out accuracy"
    return _sweep(lab, title, "labels per class", recipes, "accuracy", note, repeats)


def _imbalance(lab: Lab, ratios: tuple[float, ...]) -> tuple[ResultTable, Curves]:
    recipes = {
        ratio: dataclasses.replace(recipe(lab, 0, 0), imbalance=ratio, epochs=6 if lab.quick else 2)
        for ratio in ratios
    }
    epochs = next(iter(recipes.values())).epochs
    note = (
        "Classes are thinned geometrically: the first stays whole, the last keeps the share given. "
        f"{epochs} epochs at 3e-3. The generators saw all classes in full."
    )
    title = f"Class imbalance: {MEAN_ACCURACY}"
    return _sweep(lab, title, "share", recipes, "balanced_accuracy", note)


def _sweep(
    lab: Lab,
    title: str,
    axis: str,
    recipes: dict[float, Recipe],
    figure: str,
    note: str,
    repeats: int = 1,
) -> tuple[ResultTable, Curves]:
    chosen = {name: row for name, row in ROWS.items() if "z=8" in row[0]}
    cells: dict[str, list[Cell]] = {name: [] for name in chosen}
    for name, (kind, neighbours) in chosen.items():
        for wanted in recipes.values():
            found = []
            for run in lab.each_seed(report_models(lab)[kind]):
                for repeat in range(repeats):
                    exact = dataclasses.replace(
                        wanted,
                        neighbours=neighbours,
                        learning_rate=3e-3,
                        seed=run.config.seed + 1000 * repeat,
                    )
                    classifier = classifier_of(lab, run, exact)
                    if classifier is not None:
                        found.append(classifier[1][figure])
            cells[name].append(stat(found) if found else NOT_RUN)
    columns = {"neighbours": ""} | {f"{axis} {value:g}": ".1%" for value in recipes}
    rows: list[list[Cell]] = [[name, *row] for name, row in cells.items()]
    curves: Curves = {}
    for name, row in cells.items():
        stats = [cell for cell in row if isinstance(cell, Stat)]
        if len(stats) == len(recipes):
            spread = [cell.sd or 0.0 for cell in stats]
            curves[name] = (list(recipes), [cell.mean for cell in stats], spread)
    return ResultTable(title, columns, rows, note), curves
