"""``lae reconstruct``: held-out images and what the model makes of them."""

from __future__ import annotations

from pathlib import Path

import click

from lae_cli.shared.opened import PICTURES, Opened, on_run, out_option, report, save_arrays
from lae_cli.shared.options import LARGEST, FiniteRange

SHOWN = 8


@click.command()
@on_run
@click.option(
    "--images",
    "count",
    type=click.IntRange(1, LARGEST),
    default=10000,
    show_default=True,
    help="Held-out images to measure on.",
)
@click.option(
    "--noise",
    type=FiniteRange(min=0),
    default=0.0,
    show_default=True,
    help="Standard deviation of Gaussian noise on the encoder's input.",
)
@out_option(*PICTURES, ".npz")
def reconstruct(opened: Opened, count: int, noise: float, as_json: bool, out: Path | None) -> None:
    """Reconstruct held-out images: mean squared error, likelihood, pictures.

    Latents are the encoder's means; errors are against the clean images.
    """
    from lae_fast.analysis import explore

    found = explore.reconstruct(opened.saved, opened.first(count), noise=noise, seed=opened.seed)
    rows = [("images", found.originals), ("reconstructions", found.reconstructions)]
    if noise:
        rows.insert(1, (f"with noise {noise:g}", found.shown))
    shown = [(caption, images[:SHOWN]) for caption, images in rows]
    if not as_json:
        from lae_cli.terminal.pictures import show_rows

        show_rows([(caption, images.numpy()) for caption, images in shown])
    if out is not None and out.suffix == ".npz":
        save_arrays(
            out, originals=found.originals, shown=found.shown, reconstructions=found.reconstructions
        )
    elif out is not None:
        from lae_fast.analysis.plots import save_rows

        save_rows(out, shown)
    values = {
        "run": opened.saved.path.name, "images": len(found.originals), "noise": noise,
        "mse": found.mse, "nll": found.nll,
    }  # fmt: skip
    lines = [
        f"MSE         {found.mse:.5f} a pixel, {len(found.originals)} held-out images",
        f"-log p(x|z) {found.nll:.2f} nats/image at the mean latents",
    ]
    report(values, lines, as_json=as_json, out=out)
