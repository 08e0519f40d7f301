"""``lae anomaly``: foreign images against familiar ones."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from lae_cli.shared.completions import complete_data_sets
from lae_cli.shared.opened import Opened, on_run
from lae_cli.shared.options import whole
from lae_cli.shared.results import Result

if TYPE_CHECKING:
    from lae_fast.data import ImageSet

ROTATED = "rotated"


@click.command()
@click.option(
    "--against",
    default=ROTATED,
    show_default=True,
    metavar="NAME|PATH",
    shell_complete=complete_data_sets,
    help="Foreign images: the test images of a data set, the images of a path, or 'rotated' (the "
    "held-out images turned by a quarter).",
)
@click.option(
    "--score",
    "scores",
    type=click.Choice(["mse", "elbo", "likelihood"]),
    multiple=True,
    default=("mse",),
    show_default=True,
    help="Score images by reconstruction error, evidence lower bound or importance-sampled "
    "likelihood; may be repeated.",
)
@whole(
    "--images",
    "count",
    least=4,
    default=2000,
    help="Familiar images, at most: half set the threshold, half test it. The number of foreign "
    "images is at most the same.",
)
@on_run()
def anomaly(opened: Opened, against: str, scores: tuple[str, ...], count: int) -> Result:
    """Detect images that the model was not trained for.

    An image is an anomaly if its score lies outside mean +- 2 standard deviations of the familiar
    images' scores. AUROC judges the score without a threshold; 1 is perfect, 0.5 is chance.

    \b
    Example:
      lae anomaly latest --against fashion-mnist --score mse --score likelihood
    """
    from lae_fast.analysis.anomaly import detect
    from lae_fast.progress import steps

    familiar, foreign = opened.first(count), _foreign(opened, against, count)
    found = [
        detect(opened.saved.model, familiar, foreign, score, seed=opened.seed)
        for score in steps(scores)
    ]
    values = {
        "against": against,
        "familiar": len(familiar),
        "foreign": len(foreign),
        "detections": [asdict(each) for each in found],
    }
    lines = [f"{'score':<12}AUROC   kept    found   threshold"]
    lines += [
        f"{each.score:<12}{each.auroc:.4f}  {each.familiar_kept:6.2%}  {each.foreign_found:6.2%}  "
        f"{each.threshold[0]:.4g} to {each.threshold[1]:.4g}"
        for each in found
    ]
    lines += ["kept: familiar images inside the threshold; found: foreign images outside it"]
    return Result(values, lines)


def _foreign(opened: Opened, against: str, count: int) -> ImageSet:
    import torch

    from lae_fast.analysis.anomaly import rotated
    from lae_fast.data import load_test

    if against == ROTATED:
        return rotated(opened.first(count))
    config = opened.saved.config
    images = load_test(
        against,
        opened.data_dir or config.data_dir,
        download=config.download,
        image_size=config.image_size,
    )
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(opened.seed))
    return images.subset(order[:count])
