"""``lae eval``: held-out likelihood and chain diagnostics of a run."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

from lae_cli.shared.evaluate import evaluate, evaluation_options
from lae_cli.shared.opened import Opened, on_run
from lae_cli.shared.results import Result
from lae_cli.terminal import vocabulary
from lae_fast import runs
from lae_fast.config import BOUND, POTENTIAL, RECONSTRUCTION

AGREE = 0.5
"""Nats per image by which two estimates of a log-likelihood may differ without a note."""


@click.command("eval")
@evaluation_options
@on_run()
def eval(opened: Opened, **options: Any) -> Result:
    """Estimate the held-out log-likelihood of a run.

    The likelihood is importance-sampled from a Gaussian refined for each image, so models with good
    and bad encoders are compared by their decoders. Likelihoods are in nats per image. The command
    also runs Langevin chains on held-out images and says how well they mix.

    \b
    Example:
      lae eval latest --images 200 --ais 20
    """
    values = asdict(evaluate(opened, **options))
    loss = runs.summarise(opened.path, quick=True).best_val_loss
    values |= {"val_loss": loss, "val_quantity": opened.saved.config.val_quantity}
    return Result(values, _lines(values))


_RELATIONS = {
    BOUND: "the same bound on the validation images, not the held-out ones",
    POTENTIAL: "the potential at a point, which bounds nothing: compare runs by -log p(x)",
    RECONSTRUCTION: "-log p(x|z) alone, without the prior: compare runs by -log p(x)",
}
"""How the validation loss relates to these figures."""


def _lines(values: dict[str, Any]) -> list[str]:
    chain = values["chain"]
    rows = [
        ("run", f"{values['run']} ({values['model']} on {values['dataset']})"),
        ("-log p(x)", f"{values['nll']:.2f} +- {values['nll_error']:.2f} nats per image"),
        ("", f"{values['images']} images, {values['samples']} importance samples each"),
        ("effective", f"{values['effective']:.2%} of the importance samples"),
    ]
    if values["ais"] is not None:
        rows += [
            ("with AIS", f"{values['ais']:.2f} +- {values['ais_error']:.2f} nats per image"),
            ("", f"first {values['ais_images']} images"),
            ("", f"{values['ais_nll']:.2f} by importance sampling on the same images"),
            *simulated_lines(values),
        ]
    bound, relation = values["negative_elbo"], _RELATIONS[values["val_quantity"]]
    rows += [
        ("-ELBO", f"{bound:.2f} nats per image with the model's own encoder"),
        ("", f"{bound / values['dimensions']:.4f} nats per dimension"),
        ("val loss", f"{vocabulary.loss(values['val_loss'])} in training is " + relation),
        ("acceptance", f"{chain['accept_prob']:.3f} at step size {chain['step_size']:.2e}"),
        (
            "ESS of z",
            f"{chain['ess_per_step']:.3f} per Langevin step, "
            f"{chain['ess_per_second']:.0f} per second",
        ),
        ("split R-hat", f"{chain['split_rhat']:.3f} (95th percentile)"),
        ("posterior", f"standard deviation {chain['posterior_std']:.3f} of z given an image"),
        ("latents", f"mean {_row(chain['latent_mean'])}"),
        ("", f"std  {_row(chain['latent_std'])}"),
    ]
    return [f"{name:<12}{text}" for name, text in rows]


def simulated_lines(values: dict[str, Any]) -> list[tuple[str, str]]:
    """How far the estimates are off, and whether they agree."""
    drawn = values["simulated"]
    gap = drawn["upper"] - drawn["lower"]
    rows = [
        ("simulated", f"{drawn['lower']:.2f} by AIS backwards, {drawn['upper']:.2f} forwards"),
        (
            "",
            f"{drawn['images']} images drawn from the model; but for chance, the truth is between",
        ),
        ("", f"{drawn['nll']:.2f} by importance sampling on the same images"),
    ]
    apart = values["ais"] - values["ais_nll"]
    if abs(apart) > AGREE:
        better = "AIS" if apart < 0 else "importance sampling"
        rows.append(("note", f"the two estimates are {abs(apart):.1f} nats apart on held-out"))
        rows.append(("", f"images; both err upwards, so believe {better}"))
    if gap > AGREE:
        rows.append(
            ("note", f"AIS leaves {gap:.1f} nats open even where the model drew the images")
        )
    if drawn["nll"] - drawn["upper"] > AGREE:
        rows.append(("note", "importance sampling misses the truth there: use more --samples"))
    return rows


def _row(values: tuple[float, ...]) -> str:
    return " ".join(f"{value:5.2f}" for value in values)
