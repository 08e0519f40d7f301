"""``lae traverse``: what each latent does."""

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
from lae_cli.shared.options import LARGEST, FiniteRange


@click.command()
@on_run
@click.option(
    "--around",
    default=None,
    metavar="POINT",
    help="Latent in the middle: point:0,1 or image:12 or class:7.  [default: the mean latent]",
)
@click.option(
    "--dim",
    "dims",
    type=click.IntRange(0, LARGEST),
    multiple=True,
    help="Latent dimension; may be repeated.  [default: all]",
)
@click.option(
    "--span",
    type=FiniteRange(min=0, min_open=True),
    default=3.0,
    show_default=True,
    help="How far to either side, in standard deviations of the data's latents.",
)
@click.option("--steps", type=click.IntRange(2, LARGEST), default=9, show_default=True)
@label_option
@out_option(*PICTURES, ".npz")
def traverse(
    opened: Opened,
    around: str | None,
    dims: tuple[int, ...],
    span: float,
    steps: int,
    label: str | None,
    as_json: bool,
    out: Path | None,
) -> None:
    """Decode while one latent at a time varies and the others stay."""
    from lae_fast.analysis import explore

    values = explore.latents_of(opened.saved, opened.images).values
    centre = values.mean(0)
    if around is not None:
        centre = explore.find_point(opened.saved, around, lambda: opened.images)
    opened.choose_label(label)
    found = explore.traverse(
        opened.saved, centre, spans=span * values.std(0), steps=steps, dims=dims or None
    )
    rows = [(f"z{dim}", images) for dim, images in found.items()]
    if not as_json:
        from lae_cli.terminal.pictures import show_rows

        show_rows([(caption, images.numpy()) for caption, images in rows])
    if out is not None and out.suffix == ".npz":
        save_arrays(out, **{f"z{dim}": images for dim, images in found.items()})
    elif out is not None:
        from lae_fast.analysis.plots import save_rows

        save_rows(out, rows)
    result = {
        "run": opened.saved.path.name, "dims": list(found), "centre": centre.tolist(),
        "span": span, "steps": steps,
    }  # fmt: skip
    report(result, [], as_json=as_json, out=out)
