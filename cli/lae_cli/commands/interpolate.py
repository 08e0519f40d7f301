"""``lae interpolate``: images between latents."""

from __future__ import annotations

from pathlib import Path

import click

from lae_cli.shared.opened import Opened, label_option, on_run
from lae_cli.shared.options import whole
from lae_cli.shared.results import PICTURES, Result


@click.command()
@whole("--steps", least=2, default=9, help="Images along each side, both ends included.")
@label_option
@on_run(*PICTURES, ".npz")
@click.argument("points", nargs=-1, required=True, metavar="POINT POINT [POINT POINT]")
def interpolate(opened: Opened, points: tuple[str, ...], steps: int, label: str | None) -> Result:
    """Decode the line between two latents, or a square of four.

    A POINT is point:0.5,-1 (the latent itself), image:12 (the latent of held-out image 12) or
    class:7 (the mean latent of that class). Four points are the corners: top left, top right,
    bottom left, bottom right.

    \b
    Example:
      lae interpolate latest class:1 class:7 --out between.png
    """
    import torch

    from lae_fast.analysis import explore

    if len(points) not in (2, 4):
        raise click.UsageError(f"give 2 points or 4, not {len(points)}")
    corners = [explore.find_point(opened.saved, text, lambda: opened.images) for text in points]
    opened.choose_label(label)
    rows = explore.interpolate(opened.saved, corners, steps)

    def write(out: Path) -> None:
        from lae_fast.analysis.plots import save_rows

        save_rows(out, [("", row) for row in rows], title=" to ".join(points))

    return Result(
        {
            "points": list(points),
            "steps": steps,
            "corners": [corner.tolist() for corner in corners],
        },
        (),
        [("" if k else " to ".join(points[:2]), row) for k, row in enumerate(rows)],
        {"images": torch.stack(rows), "corners": torch.stack(corners)},
        write,
    )
