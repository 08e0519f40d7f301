"""``lae sample``: images decoded from random latents."""

from __future__ import annotations

from pathlib import Path

import click

from lae_cli.shared.opened import Opened, label_option, on_run
from lae_cli.shared.options import whole
from lae_cli.shared.results import PICTURES, Result


@click.command()
@whole("--count", "-n", default=16, help="Images to draw.")
@click.option(
    "--law",
    type=click.Choice(["prior", "data"]),
    default="prior",
    show_default=True,
    help="Draw latents from N(0, I), or from the Gaussian fitted to the held-out images' latents.",
)
@label_option
@on_run(*PICTURES, ".npz")
def sample(opened: Opened, count: int, law: str, label: str | None) -> Result:
    """Decode images from random latents.

    A model trained with --no-prior has latents far from N(0, I); use --law data for it.

    \b
    Example:
      lae sample latest -n 32 --out samples.png
    """
    from torch import split

    from lae_fast.analysis import explore

    images = opened.images if law == "data" else None
    opened.choose_label(label)
    pixels = explore.sample(opened.saved, count, law=law, images=images, seed=opened.seed)

    def write(out: Path) -> None:
        from lae_fast.analysis.plots import save_rows

        save_rows(out, [("", part) for part in split(pixels, 8)])

    shown = [(f"{count} samples, law: {law}", pixels)]
    return Result({"count": count, "law": law}, (), shown, {"images": pixels}, write)
