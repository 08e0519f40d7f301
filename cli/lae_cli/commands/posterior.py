"""``lae posterior``: Langevin samples of the latents of held-out images."""

from __future__ import annotations

import click

from lae_cli.shared.opened import Opened, on_run
from lae_cli.shared.options import whole
from lae_cli.shared.results import PICTURES, Result

SHOWN = 8


@click.command()
@whole("--images", "count", default=16, help="Held-out images to sample the latents of.")
@click.option(
    "--method",
    type=click.Choice(["image", "phi"]),
    default="image",
    show_default=True,
    help="Run chains of each image's own, or Algorithm 1: one chain on phi for all images.",
)
@whole("--draws", least=4, default=500, help="Draws per chain to keep.")
@whole("--warmup", default=500, help="Langevin steps per chain before the first draw.")
@whole("--chains", default=4, help="Independent chains.")
@click.option("--mh/--no-mh", default=True, help="Accept or reject each step.  [default: mh]")
@on_run(*PICTURES, ".npz")
def posterior(
    opened: Opened, count: int, method: str, draws: int, warmup: int, chains: int, mh: bool
) -> Result:
    """Sample p(z | x) of held-out images by Langevin dynamics.

    The decoder of RUN stays fixed. The pictures are the images, the mean of the decoded samples and
    their standard deviation; the lines below say how well the chains mixed.

    \b
    Example:
      lae posterior latest --images 8 --out posterior.npz
    """
    from lae_fast.analysis.infer import infer

    images = opened.first(count)
    found = infer(
        opened.saved,
        images,
        method=method,
        draws=draws,
        warmup=warmup,
        chains=chains,
        mh=mh,
        seed=opened.seed,
    )
    values = {"method": method, "mh": mh} | found.to_dict()
    lines = [
        f"acceptance  {values['accept_prob']:.3f} at step size {values['step_size']:.2e}",
        f"ESS of z    median {values['ess_median']:.0f}, least {values['ess_min']:.0f} of "
        f"{chains * draws} draws; {values['ess_per_second']:.0f} per second",
        f"split R-hat {values['rhat_max']:.3f} (worst image and dimension)",
        f"posterior   standard deviation {values['posterior_std']:.3f} of z given an image",
    ]
    rows = [
        ("images", images.images[:SHOWN]),
        ("posterior mean", found.images[:SHOWN]),
        ("standard deviation", found.spread[:SHOWN]),
    ]
    arrays = {"latents": found.chains.latents}
    arrays |= {"labels": images.labels} if images.class_names else {}
    return Result(values, lines, rows, arrays)
