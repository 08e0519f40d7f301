"""``lae posterior``: Langevin samples of the latents of held-out images."""

from __future__ import annotations

from pathlib import Path

import click

from lae_cli.shared.opened import PICTURES, Opened, on_run, out_option, report, save_arrays
from lae_cli.shared.options import LARGEST

SHOWN = 8


@click.command()
@on_run
@click.option(
    "--images",
    "count",
    type=click.IntRange(1, LARGEST),
    default=16,
    show_default=True,
    help="Held-out images.",
)
@click.option(
    "--method",
    type=click.Choice(["image", "phi"]),
    default="image",
    show_default=True,
    help="Chains of each image's own, or Algorithm 1: one on phi for all images.",
)
@click.option("--draws", type=click.IntRange(4, LARGEST), default=500, show_default=True)
@click.option("--warmup", type=click.IntRange(1, LARGEST), default=500, show_default=True)
@click.option("--chains", type=click.IntRange(1, LARGEST), default=4, show_default=True)
@click.option("--mh/--no-mh", default=True, help="Accept/reject after each step.  [default: mh]")
@out_option(*PICTURES, ".npz")
def posterior(
    opened: Opened,
    count: int,
    method: str,
    draws: int,
    warmup: int,
    chains: int,
    mh: bool,
    as_json: bool,
    out: Path | None,
) -> None:
    """Sample p(z | x) of held-out images under RUN's decoder, and say how far to trust it.

    Pictures: the images, the mean of the decoded samples, and their standard deviation.
    """
    from lae_fast.analysis.infer import infer

    images = opened.first(count)
    found = infer(
        opened.saved, images, method=method, draws=draws, warmup=warmup, chains=chains, mh=mh,
        seed=opened.seed,
    )  # fmt: skip
    rows = [
        ("images", images.images[:SHOWN]),
        ("posterior mean", found.images[:SHOWN]),
        ("standard deviation", found.spread[:SHOWN]),
    ]
    if not as_json:
        from lae_cli.terminal.pictures import show_rows

        show_rows([(caption, pixels.numpy()) for caption, pixels in rows])
    if out is not None and out.suffix == ".npz":
        save_arrays(out, latents=found.chains.latents, labels=images.labels)
    elif out is not None:
        from lae_fast.analysis.plots import save_rows

        save_rows(out, rows)
    values = {"run": opened.saved.path.name, "method": method, "mh": mh} | found.to_dict()
    lines = [
        f"acceptance  {values['accept_prob']:.3f} at step size {values['step_size']:.2e}",
        f"ESS of z    median {values['ess_median']:.0f}, least {values['ess_min']:.0f} of "
        f"{chains * draws} draws; {values['ess_per_second']:.0f} a second",
        f"split R-hat {values['rhat_max']:.3f} (worst image and dimension)",
        f"posterior   standard deviation {values['posterior_std']:.3f} of z given an image",
    ]
    report(values, lines, as_json=as_json, out=out)
