"""``lae traverse``: what each latent does."""

from __future__ import annotations

import click

from lae_cli.shared.opened import Opened, label_option, on_run
from lae_cli.shared.options import real, whole
from lae_cli.shared.results import PICTURES, Result


@click.command()
@click.option(
    "--around",
    metavar="POINT",
    help="Latent in the middle: point:0,1 or image:12 or class:7.  [default: the mean latent]",
)
@whole(
    "--dim",
    "dims",
    least=0,
    multiple=True,
    help="Latent dimension to vary, counted from 0; may be repeated.  [default: all]",
)
@real(
    "--span",
    default=3.0,
    help="How far to vary it to either side, in standard deviations of the held-out images' "
    "latents.",
)
@whole("--steps", least=2, default=9, help="Images per dimension, both ends included.")
@label_option
@on_run(*PICTURES, ".npz")
def traverse(
    opened: Opened,
    around: str | None,
    dims: tuple[int, ...],
    span: float,
    steps: int,
    label: str | None,
) -> Result:
    """Decode images while one latent dimension varies at a time.

    \b
    Example:
      lae traverse latest --dim 0 --dim 1 --around class:7
    """
    from lae_fast.analysis import explore

    values = explore.latents_of(opened.saved, opened.images).values
    centre = values.mean(0)
    if around is not None:
        centre = explore.find_point(opened.saved, around, lambda: opened.images)
    opened.choose_label(label)
    found = explore.traverse(
        opened.saved, centre, spans=span * values.std(0), steps=steps, dims=dims or None
    )
    rows = {f"z{dim}": images for dim, images in found.items()}
    return Result(
        {"dims": list(found), "centre": centre.tolist(), "span": span, "steps": steps},
        (),
        list(rows.items()),
        rows,
    )
