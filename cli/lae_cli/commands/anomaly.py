"""``lae anomaly``: foreign images against familiar ones."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from lae_cli.shared.opened import Opened, on_run, report
from lae_cli.shared.options import LARGEST

if TYPE_CHECKING:
    from lae_fast.data import ImageSet

ROTATED = "rotated"


@click.command()
@on_run
@click.option(
    "--against",
    default=ROTATED,
    show_default=True,
    metavar="NAME|PATH",
    help="Foreign images: a data set (its test images), a path, or 'rotated': the held-out images "
    "turned by a quarter.",
)
@click.option(
    "--score",
    "scores",
    type=click.Choice(["mse", "elbo", "likelihood"]),
    multiple=True,
    default=("mse",),
    show_default=True,
    help="Reconstruction error, evidence lower bound, or importance-sampled likelihood; may be "
    "repeated.",
)
@click.option(
    "--images",
    "count",
    type=click.IntRange(4, LARGEST),
    default=2000,
    show_default=True,
    help="Familiar images: half set the threshold, half test it; as many foreign ones at most.",
)
def anomaly(
    opened: Opened, against: str, scores: tuple[str, ...], count: int, as_json: bool
) -> None:
    """Detect images that RUN's model was not trained for.

    An image is an anomaly when its score lies outside mean +- 2 standard deviations of the familiar
    images' scores; AUROC judges the score without a threshold.
    """
    from lae_fast.analysis.anomaly import detect

    familiar, foreign = opened.first(count), _foreign(opened, against, count)
    found = [
        detect(opened.saved.model, familiar, foreign, score, seed=opened.seed) for score in scores
    ]
    lines = [f"{'score':<12}AUROC   kept    found   threshold"]
    lines += [
        f"{d.score:<12}{d.auroc:.4f}  {d.familiar_kept:6.2%}  {d.foreign_found:6.2%}  "
        f"{d.threshold[0]:.4g} to {d.threshold[1]:.4g}"
        for d in found
    ]
    values = {
        "run": opened.saved.path.name, "against": against, "familiar": len(familiar),
        "foreign": len(foreign), "detections": [asdict(d) for d in found],
    }  # fmt: skip
    report(values, lines, as_json=as_json)


def _foreign(opened: Opened, against: str, count: int) -> ImageSet:
    import torch

    from lae_fast.analysis.anomaly import rotated
    from lae_fast.data import load_test

    if against == ROTATED:
        return rotated(opened.first(count))
    config = opened.saved.config
    images = load_test(against, opened.data_dir or config.data_dir, download=config.download)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(opened.seed))
    return images.subset(order[:count])
