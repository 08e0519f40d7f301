"""``lae sample``: images decoded from random latents."""

from __future__ import annotations

from pathlib import Path

import click

from lae_cli.shared.opened import (
    PICTURES,
    Opened,
    label_option,
    on_run,
    out_option,
    report,
    save_arrays,
)
from lae_cli.shared.options import LARGEST


@click.command()
@on_run
@click.option("--count", "-n", type=click.IntRange(1, LARGEST), default=16, show_default=True)
@click.option(
    "--law",
    type=click.Choice(["prior", "data"]),
    default="prior",
    show_default=True,
    help="Draw latents from N(0, I), or from the Gaussian that fits the data's latents.",
)
@label_option
@out_option(*PICTURES, ".npz")
def sample(
    opened: Opened, count: int, law: str, label: str | None, as_json: bool, out: Path | None
) -> None:
    """Draw images from RUN's model.

    A model trained without a prior has latents far from N(0, I); --law data draws where they are.
    """
    from lae_fast.analysis import explore

    images = opened.images if law == "data" else None
    opened.choose_label(label)
    pixels = explore.sample(opened.saved, count, law=law, images=images, seed=opened.seed)
    if not as_json:
        from lae_cli.terminal.pictures import show_rows

        show_rows([(f"{count} samples, law: {law}", pixels.numpy())])
    if out is not None:
        _write(out, pixels)
    values = {"run": opened.saved.path.name, "count": count, "law": law}
    report(values, [], as_json=as_json, out=out)


def _write(out: Path, pixels: object) -> None:
    if out.suffix == ".npz":
        save_arrays(out, images=pixels)
        return
    from torch import Tensor, split

    from lae_fast.analysis.plots import save_rows

    assert isinstance(pixels, Tensor)
    save_rows(out, [("", part) for part in split(pixels, 8)])
