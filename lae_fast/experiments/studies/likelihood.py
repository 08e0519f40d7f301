"""Held-out log-likelihood of every model on equal terms, with what its chain did."""

from __future__ import annotations

from lae_fast import runs
from lae_fast.analysis.evaluate import evaluate_run
from lae_fast.analysis.saved import SavedRun
from lae_fast.experiments.lab import Lab
from lae_fast.experiments.outcome import Cell, Outcome, ResultTable, make_row
from lae_fast.experiments.studies.models import further_models, report_models, with_acceptance

COLUMNS = {
    "model": "",
    "-log p(x), IS": ".2f",
    "s.e.": ".2f",
    "IS, fewer images": ".2f",
    "AIS, these images": ".2f",
    "s.e. of these": ".2f",
    "early stopping's loss (do not compare)": ".2f",
    "acceptance rate": ".3f",
    "latent sd": ".2f",
    "posterior sd": ".3f",
}
NOTE = (
    "-log p(x) is of the generative model z ~ N(0, I), x given z, whatever trained it; lower is "
    "better. Importance sampling (IS, Burda et al. 2016) proposes from a Gaussian refined for "
    "every image. Annealed importance sampling (AIS, Neal 2001) goes from the prior to the "
    "posterior, on fewer images; IS of these images stands beside it. Both err upwards, by an "
    "unknown amount where they disagree. For the LAE of Bisht 2023 without MH, whose latents "
    "lie far outside the prior, IS is of no use, and AIS an upper bound.\n\n"
    "Early stopping sees no prior for the LAE of Bisht 2023, and no entropy of N(phi h, 0.05^2) "
    "for any LAE, so that its losses do not compare. The acceptance rate is that of the last "
    "epoch of training. The latent sd is that of draws given all images, and the posterior sd "
    "the mean of those given one image, by Langevin chains at the trained weights.\n\n"
    "The frozen phi is the control for a chain that accepts nothing; early stopping sees its "
    "reconstruction from noisy latents, for which it was not trained, and so comes early."
)


def run(lab: Lab) -> Outcome:
    """Evaluate the models with 8 latents, and those with other sizes where they are trained."""
    published = report_models(lab)
    names = ("VAE z=8", "LAE z=8", "LAE z=2, MH") if lab.quick else tuple(published)
    models = {name: published[name] for name in names} | further_models(lab)
    rows: list[list[Cell]] = []
    for name, settings in models.items():
        found = lab.measure(settings, lambda run: _figures(lab, run))
        rows.append(make_row(COLUMNS, name, {}, with_acceptance(lab, settings, found)))
    images, samples, annealed = _sizes(lab)
    setting = (
        f"{images} held-out images, {samples} importance samples per image, {annealed} images "
        "annealed."
    )
    table = ResultTable("Held-out -log p(x), nats per image", COLUMNS, rows, NOTE)
    return lab.outcome("likelihood", "Likelihood on equal terms", setting, [table], {})


def _sizes(lab: Lab) -> tuple[int, int, int]:
    return (50, 200, 10) if lab.quick else (1000, 1000, 100)


def _figures(lab: Lab, run: SavedRun) -> dict[str, float]:
    images, samples, annealed = _sizes(lab)
    report = evaluate_run(
        run.path,
        images=images,
        samples=samples,
        ais_images=annealed,
        data_dir=lab.data_dir,
        device=lab.device,
    )
    story = runs.summarise(run.path)
    return {
        "-log p(x), IS": report.nll,
        "s.e.": report.nll_error,
        "IS, fewer images": report.ais_nll or 0.0,
        "AIS, these images": report.ais or 0.0,
        "s.e. of these": report.ais_error or 0.0,
        "early stopping's loss (do not compare)": story.best_val_loss or 0.0,
        "acceptance rate": story.accept_rate or 0.0,
        "latent sd": sum(report.chain.latent_std) / len(report.chain.latent_std),
        "posterior sd": report.chain.posterior_std,
    }
