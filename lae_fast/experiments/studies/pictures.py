"""Figures 3 to 5 of Bisht 2023: samples, latents, interpolations; and traversals."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from lae_fast.analysis import explore, plots
from lae_fast.analysis.saved import SavedRun
from lae_fast.experiments.lab import Lab
from lae_fast.experiments.outcome import Cell, Outcome, ResultTable
from lae_fast.experiments.studies.models import report_models, sound_lae

CORNERS = ("-1,1", "1,1", "-1,-1", "1,-1")
"""Of figure 5: from (-1, -1) to (1, -1) and up to (1, 1)."""


def run(lab: Lab) -> Outcome:
    """Draw those figures for the VAE, the LAE of Bisht 2023, and the LAE with its prior."""
    models = _models(lab)
    pictures = {}
    draws: dict[str, tuple[str, Callable[[Lab, dict[str, SavedRun], str], None]]] = {
        "samples.png": (
            "Figure 3 of Bisht 2023: decoded z ~ N(0, I), and from a Gaussian fitted to held-out "
            "latents.",
            _samples,
        ),
        "latents.png": ("Figure 4 of Bisht 2023: latents of held-out images.", draw_latents),
        "interpolation.png": (
            "Figure 5 of Bisht 2023: the square between (-1, 1) and (1, -1).",
            partial(_interpolation, points=[f"point:{corner}" for corner in CORNERS], steps=8),
        ),
        "traversals.png": ("One latent at a time, around the mean.", _traversals),
        "classes.png": (
            "From the mean latent of class 1 to that of class 7.",
            partial(_interpolation, points=["class:1", "class:7"], steps=12),
        ),
    }
    if models:
        for file, (caption, draw) in draws.items():
            draw(lab, models, file)
            pictures[file] = caption
    setting = "Two latents; the LAE as in Bisht 2023 (no prior), and with prior and MH, whitened."
    title, tables = "What do samples and latents look like?", [_spread(lab, models)]
    return lab.outcome("pictures", title, setting, tables, pictures)


def _models(lab: Lab) -> dict[str, SavedRun]:
    rows = report_models(lab)
    wanted = {
        "VAE": rows["VAE z=2"],
        "LAE as in Bisht 2023": rows["LAE z=2"],
        "LAE, prior and MH": sound_lae(latent_dim=2),
    }
    found = {name: lab.find(**settings, seed=0) for name, settings in wanted.items()}
    return {name: run for name, run in found.items() if run is not None}


def _spread(lab: Lab, models: dict[str, SavedRun]) -> ResultTable:
    images = lab.held_out
    rows: list[list[Cell]] = []
    for name, run in models.items():
        values = explore.latents_of(run, images).values
        rows.append([name, float(values.mean(0).norm()), *values.std(0).tolist()])
    columns = {"model": "", "norm of the mean": ".2f", "sd of z0": ".2f", "sd of z1": ".2f"}
    note = (
        "The prior has mean 0 and standard deviation 1. Decoding N(0, I) means something only for "
        "latents that match it."
    )
    return ResultTable("Where the latents lie", columns, rows, note)


def _samples(lab: Lab, models: dict[str, SavedRun], file: str) -> None:
    images = lab.held_out
    rows = []
    for name, run in models.items():
        rows += [(f"{name}: N(0, I)", explore.sample(run, 12))]
        rows += [("Gaussian of its latents", explore.sample(run, 12, law="data", images=images))]
    plots.save_rows(lab.picture(file), rows)


def draw_latents(lab: Lab, models: dict[str, SavedRun], file: str) -> None:
    """Where held-out images lie, coloured by class, one panel per model."""
    images = lab.held_out
    some = images.first(3000)
    panels = {
        name: (explore.latents_of(run, some).values.double().numpy(), some.labels.numpy())
        for name, run in models.items()
    }
    plots.save_scatter(lab.picture(file), panels, images.class_names)


def _interpolation(
    lab: Lab, models: dict[str, SavedRun], file: str, *, points: list[str], steps: int
) -> None:
    rows = []
    for name, run in models.items():
        ends = [explore.find_point(run, point, lambda: lab.held_out) for point in points]
        lines = explore.interpolate(run, ends, steps)
        rows += [(name if k == 0 else "", line) for k, line in enumerate(lines)]
    plots.save_rows(lab.picture(file), rows)


def _traversals(lab: Lab, models: dict[str, SavedRun], file: str) -> None:
    images = lab.held_out
    rows = []
    for name, run in models.items():
        values = explore.latents_of(run, images).values
        found = explore.traverse(run, values.mean(0), spans=2.5 * values.std(0), steps=12)
        rows += [(f"{name}: z{dim}", line) for dim, line in found.items()]
    plots.save_rows(lab.picture(file), rows)
