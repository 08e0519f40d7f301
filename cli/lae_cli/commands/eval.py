"""``lae eval``: held-out likelihood and chain diagnostics of a run."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

from lae_cli.shared.evaluate import evaluation_options, run_report
from lae_cli.shared.results import json_line
from lae_fast.errors import printable


@click.command("eval")
@evaluation_options
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def eval(as_json: bool, **options: Any) -> None:
    """Estimate RUN's held-out log-likelihood and how well its posterior chains mix.

    The likelihood is importance-sampled with a Gaussian proposal refined for every image, so that
    models with good and bad encoders are compared by their decoders; --ais adds annealed
    importance sampling. Figures are nats an image.
    """
    _, report, _ = run_report(**options)
    values = asdict(report)
    click.echo(json_line(values) if as_json else "\n".join(_lines(values)))


def _lines(values: dict[str, Any]) -> list[str]:
    chain = values["chain"]
    rows = {
        "run": f"{printable(values['run'])} ({values['model']} on {printable(values['dataset'])})",
        "-log p(x)": f"{values['nll']:.2f} +- {values['nll_error']:.2f} nats/image, importance "
        f"sampling, {values['images']} images, {values['samples']} samples",
        "effective": f"{values['effective']:.2%} of the samples",
    }
    if values["ais"] is not None:
        rows["-log p(x)"] += (
            f"\n{'':12}{values['ais']:.2f} +- {values['ais_error']:.2f} nats/image, annealed "
            f"importance sampling, {values['ais_images']} images (without annealing, these: "
            f"{values['ais_nll']:.2f})"
        )
    bound, pixels = values["negative_elbo"], values["dimensions"]
    rows |= {
        "-ELBO": f"{bound:.2f} nats/image with the model's own encoder, "
        f"{bound / pixels:.4f} nats a dimension",
        "acceptance": f"{chain['accept_prob']:.3f} at step size {chain['step_size']:.2e}",
        "ESS of z": f"{chain['ess_per_step']:.3f} a step, {chain['ess_per_second']:.0f} a second",
        "split R-hat": f"{chain['split_rhat']:.3f} (95th percentile)",
        "posterior": f"standard deviation {chain['posterior_std']:.3f} of z given an image",
        "latents": "mean " + _row(chain["latent_mean"]) + "\n" + " " * 12
        + "std  " + _row(chain["latent_std"]),
    }  # fmt: skip
    return [f"{name:<12}{text}" for name, text in rows.items()]


def _row(values: tuple[float, ...]) -> str:
    return " ".join(f"{value:5.2f}" for value in values)
