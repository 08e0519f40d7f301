"""``lae latents``: where held-out images lie in latent space."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lae_cli.shared.opened import PICTURES, Opened, on_run, out_option, report, save_arrays
from lae_cli.shared.options import LARGEST
from lae_fast.errors import printable

if TYPE_CHECKING:
    from lae_fast.analysis.explore import Latents

ROWS = 24


@click.command()
@on_run
@click.option(
    "--images",
    "count",
    type=click.IntRange(2, LARGEST),
    default=2000,
    show_default=True,
    help="Held-out images.",
)
@out_option(*PICTURES, ".csv", ".npz")
def latents(opened: Opened, count: int, as_json: bool, out: Path | None) -> None:
    """Encode held-out images and show their mean latents, coloured by class.

    More than two dimensions are shown by their principal components; files of numbers hold all.
    """
    from lae_fast.analysis import explore

    found = explore.latents_of(opened.saved, opened.first(count))
    if not as_json:
        _show(found)
    if out is not None:
        _write(out, found, opened.saved.path.name)
    mean, std = found.values.mean(0).tolist(), found.values.std(0).tolist()
    values = {"run": opened.saved.path.name, "images": len(found.values), "mean": mean, "std": std}
    lines = [
        "mean  " + " ".join(f"{value:7.3f}" for value in mean),
        "std   " + " ".join(f"{value:7.3f}" for value in std),
    ]
    report(values, lines, as_json=as_json, out=out)


def _show(found: Latents) -> None:
    from rich.text import Text

    from lae_cli.terminal import scatter
    from lae_cli.terminal.console import has_colour, has_unicode, make_console
    from lae_cli.terminal.vocabulary import class_colour

    console = make_console()
    colour = has_colour(console)
    points = scatter.Projector()(found.values.double().numpy())
    grid = scatter.draw(
        points, found.labels.numpy(), min(console.width, 2 * 40), ROWS,
        braille=has_unicode(sys.stdout), colour=colour,
    )  # fmt: skip
    for row in grid:
        line = Text()
        for cell in row:
            line.append(cell.text, "" if cell.label is None else class_colour(cell.label))
        console.print(line)


def _write(out: Path, found: Latents, title: str) -> None:
    if out.suffix == ".npz":
        save_arrays(out, latents=found.values, labels=found.labels)
    elif out.suffix == ".csv":
        _write_csv(out, found)
    else:
        from lae_fast.analysis.plots import principal_plane, save_scatter

        plane = principal_plane(found.values.double().numpy())
        save_scatter(out, {title: (plane, found.labels.numpy())}, found.class_names)


def _write_csv(out: Path, found: Latents) -> None:
    import csv

    names = [printable(name) for name in found.class_names]
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["class", *(f"z{k}" for k in range(found.values.shape[1]))])
        for label, row in zip(found.labels.tolist(), found.values.tolist(), strict=True):
            writer.writerow([names[label] if names else label, *row])
