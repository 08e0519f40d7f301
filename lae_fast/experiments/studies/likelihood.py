"""Held-out log-likelihood of every model on equal terms, with what its chain did."""

from __future__ import annotations

from lae_fast import runs
from lae_fast.analysis.evaluate import evaluate_run
from lae_fast.analysis.saved import SavedRun
from lae_fast.experiments.lab import Lab
from lae_fast.experiments.outcome import NOT_RUN, Cell, Outcome, Table
from lae_fast.experiments.studies.models import acceptance, further_models, report_models

COLUMNS = {
    "model": "", "-log p(x), IS": ".2f", "s.e. over images": ".2f", "IS, fewer": ".2f",
    "AIS, these": ".2f", "s.e. over these": ".2f", "validation loss": ".2f", "acceptance": ".3f",
    "latent sd": ".2f", "posterior sd": ".3f",
}  # fmt: skip
NOTE = (
    "Nats an image, of the generative model z ~ N(0, I), x given z, whatever trained it; lower is "
    "better. Importance sampling proposes from a Gaussian refined for every image; annealed "
    "importance sampling goes from the prior to the posterior, on fewer images, for which "
    "importance sampling stands beside it. Both err upwards, by an unknown amount where they "
    "disagree: for the published LAE without MH, whose latents lie far outside the prior, the "
    "former is of no use, and the latter an upper bound. The validation loss is what early "
    "stopping saw: without the prior for the published LAE, without the entropy of N(phi h, "
    "0.05^2) for every LAE, so that it does not compare. Acceptance is of the training's last "
    "epoch. The latent sd is that of draws given all images, the posterior sd the mean of those "
    "given one, by Langevin chains at the trained weights. The frozen phi is the control for a "
    "chain that accepts nothing; early stopping sees its reconstruction from noisy latents, for "
    "which it was not trained, and so comes early."
)


def run(lab: Lab) -> Outcome:
    """Evaluate the models with 8 latents, and those with other sizes where they are trained."""
    published = report_models(lab)
    names = ("VAE z=8", "LAE z=8", "LAE z=2, MH") if lab.quick else tuple(published)
    models = {name: published[name] for name in names} | further_models(lab)
    rows: list[list[Cell]] = []
    for name, settings in models.items():
        found = lab.measure(settings, lambda run: _figures(lab, run))
        if found is None:
            rows.append([name, NOT_RUN, *[None] * 8])
            continue
        rows.append([
            name, found["nll"], found["error"], found["fewer"], found["ais"], found["ais_error"],
            found["loss"], acceptance(lab.config(**settings), found["accept"]), found["latent_sd"],
            found["posterior_sd"],
        ])  # fmt: skip
    images, samples, annealed = _sizes(lab)
    setting = f"{images} held-out images, {samples} importance samples, {annealed} images annealed."
    table = Table("Held-out -log p(x)", COLUMNS, rows, NOTE)
    return lab.outcome("likelihood", "Likelihood on equal terms", setting, [table], {})


def _sizes(lab: Lab) -> tuple[int, int, int]:
    return (50, 200, 10) if lab.quick else (1000, 1000, 100)


def _figures(lab: Lab, run: SavedRun) -> dict[str, float]:
    images, samples, annealed = _sizes(lab)
    report = evaluate_run(
        run.path, images=images, samples=samples, ais_images=annealed, data_dir=lab.data_dir,
        device=lab.device,
    )  # fmt: skip
    story = runs.summarise(run.path)
    return {
        "nll": report.nll,
        "error": report.nll_error,
        "fewer": report.ais_nll or 0.0,
        "ais": report.ais or 0.0,
        "ais_error": report.ais_error or 0.0,
        "loss": story.best_val_loss or 0.0,
        "accept": story.accept_rate or 0.0,
        "latent_sd": sum(report.chain.latent_std) / len(report.chain.latent_std),
        "posterior_sd": report.chain.posterior_std,
    }
