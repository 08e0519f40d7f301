"""``lae latents``: where held-out images lie in latent space."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lae_cli.shared.opened import Opened, on_run
from lae_cli.shared.options import whole
from lae_cli.shared.results import PICTURES, Result, write_latents

if TYPE_CHECKING:
    from rich.text import Text

    from lae_fast.analysis.explore import Latents
    from lae_fast.runs.plane import Points

WIDTH, ROWS = 80, 24


@click.command()
@whole("--images", "count", least=2, default=2000, help="Held-out images to encode, at most.")
@on_run(*PICTURES, ".csv", ".npz")
def latents(opened: Opened, count: int) -> Result:
    """Show where held-out images lie in latent space, by class.

    A point is an image's mean latent. More than two dimensions are projected onto their first two
    principal components; .csv and .npz files hold all dimensions, and the class if there is one.

    \b
    Example:
      lae latents latest --out latents.csv
    """
    from lae_fast.analysis import explore
    from lae_fast.runs.plane import Projector

    found = explore.latents_of(opened.saved, opened.first(count))
    plane = Projector()(found.values.double().numpy())
    mean, std = found.values.mean(0).tolist(), found.values.std(0).tolist()

    def write(out: Path) -> None:
        if out.suffix.lower() == ".csv":
            names = (
                [found.class_names[label] for label in found.labels] if found.class_names else ()
            )
            write_latents(out, found.values, "class", names)
        else:
            from lae_fast.analysis.plots import save_scatter

            panels = {opened.path.name: (plane, found.labels.numpy())}
            save_scatter(out, panels, found.class_names)

    return Result(
        {"images": len(found.values), "mean": mean, "std": std},
        [
            *_scatter(plane, found),
            "mean  " + " ".join(f"{value:7.3f}" for value in mean),
            "std   " + " ".join(f"{value:7.3f}" for value in std),
        ],
        (),
        {"latents": found.values} | ({"labels": found.labels} if found.class_names else {}),
        write,
    )


def _scatter(points: Points, found: Latents) -> list[Text]:
    from rich.text import Text

    from lae_cli.terminal import scatter
    from lae_cli.terminal.console import has_colour, has_unicode, make_console
    from lae_cli.terminal.vocabulary import class_colour

    console = make_console()
    grid = scatter.draw(
        points,
        found.labels.numpy(),
        min(console.width, WIDTH),
        ROWS,
        braille=has_unicode(sys.stdout),
        colour=has_colour(console),
    )
    return [
        Text.assemble(*((c.text, "" if c.label is None else class_colour(c.label)) for c in row))
        for row in grid
    ]
