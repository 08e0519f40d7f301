"""``lae reconstruct``: held-out images and what the model makes of them."""

from __future__ import annotations

import click

from lae_cli.shared.opened import Opened, on_run
from lae_cli.shared.options import real, whole
from lae_cli.shared.results import PICTURES, Result

SHOWN = 8


@click.command()
@whole("--images", "count", default=10000, help="Held-out images to measure on, at most.")
@real(
    "--noise",
    zero=True,
    default=0.0,
    help="Standard deviation of Gaussian noise added to the encoder's input, in pixel units.",
)
@on_run(*PICTURES, ".npz")
def reconstruct(opened: Opened, count: int, noise: float) -> Result:
    """Reconstruct held-out images and measure the error.

    The decoder gets the encoder's mean latents. Errors are against the clean images.

    \b
    Example:
      lae reconstruct latest --noise 0.2 --out reconstructions.png
    """
    from lae_fast.analysis import explore

    found = explore.reconstruct(opened.saved, opened.first(count), noise=noise, seed=opened.seed)
    rows = [("images", found.originals), ("reconstructions", found.reconstructions)]
    if noise:
        rows.insert(1, (f"with noise {noise:g}", found.shown))
    images = len(found.originals)
    lines = [
        f"MSE         {found.mse:.5f} per pixel of [0, 1], over {images} held-out images",
        f"-log p(x|z) {found.nll:.2f} nats per image at the mean latents",
    ]
    return Result(
        {"images": images, "noise": noise, "mse": found.mse, "nll": found.nll},
        lines,
        [(caption, pixels[:SHOWN]) for caption, pixels in rows],
        {
            "originals": found.originals,
            "shown": found.shown,
            "reconstructions": found.reconstructions,
        },
    )
