"""``lae interpolate``: images between latents."""

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
@click.argument("points", nargs=-1, required=True, metavar="POINT POINT [POINT POINT]")
@click.option(
    "--steps", type=click.IntRange(2, LARGEST), default=9, show_default=True, help="Images a side."
)
@label_option
@out_option(*PICTURES, ".npz")
def interpolate(
    opened: Opened,
    points: tuple[str, ...],
    steps: int,
    label: str | None,
    as_json: bool,
    out: Path | None,
) -> None:
    """Decode the line between two latents, or the square between four.

    A POINT is point:0.5,-1 (the latent itself), image:12 (of that held-out image) or class:7 (the
    mean of that class). Four are the corners top left, top right, bottom left, bottom right.
    """
    from lae_fast.analysis import explore

    if len(points) not in (2, 4):
        raise click.UsageError(f"give 2 points or 4, not {len(points)}")
    corners = [explore.find_point(opened.saved, text, lambda: opened.images) for text in points]
    opened.choose_label(label)
    rows = explore.interpolate(opened.saved, corners, steps)
    captions = [" to ".join(points[:2])] + [""] * (len(rows) - 1)
    if not as_json:
        from lae_cli.terminal.pictures import show_rows

        show_rows([(c, row.numpy()) for c, row in zip(captions, rows, strict=True)])
    if out is not None and out.suffix == ".npz":
        import torch

        save_arrays(out, images=torch.stack(rows), corners=torch.stack(corners))
    elif out is not None:
        from lae_fast.analysis.plots import save_rows

        save_rows(out, [("", row) for row in rows], title=" to ".join(points))
    values = {
        "run": opened.saved.path.name, "points": list(points), "steps": steps,
        "corners": [corner.tolist() for corner in corners],
    }  # fmt: skip
    report(values, [], as_json=as_json, out=out)
