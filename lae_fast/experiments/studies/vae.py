"""De León Martínez 2024: noise, interpolation, anomalies, conditional generation with a VAE."""

from __future__ import annotations

from typing import Any

import torch

from lae_fast.analysis import classify, explore, plots
from lae_fast.analysis.anomaly import detect, rotated
from lae_fast.analysis.saved import SavedRun
from lae_fast.data import ImageSet, load_test
from lae_fast.experiments.lab import Lab
from lae_fast.experiments.outcome import (
    NOT_RUN,
    Cell,
    Outcome,
    ResultTable,
    make_row,
    over_seeds,
    stat,
)
from lae_fast.experiments.studies.generators import classifiers
from lae_fast.experiments.studies.models import SHORT, sound_lae
from lae_fast.experiments.studies.pictures import draw_latents
from lae_fast.experiments.studies.published import VAE_KEPT, VAE_MSE, VAE_NOISY_MSE
from lae_fast.models.classifier import ConvClassifier

NOISES = (0.1, 0.2, 0.3)
ERROR_NOTE = (
    "Errors are against the clean image, from the encoder's mean or from one draw of its law. De"
    " León Martínez 2024 says neither which of the two it decodes nor how strong its noise was, "
    "so ours stands at three strengths. It gives neither learning rate nor batch size; both are "
    "ours."
)
ANOMALY_NOTE = (
    "At most 4000 held-out images and as many foreign ones; 400 each for the likelihood, whose "
    "shares are less certain for it. The threshold is mean ± 2 standard deviations of the score "
    "on half of the held-out images. Kept is the share of the other half inside it, and found "
    "the share of the foreign images outside. De León Martínez 2024 does not say which score it "
    "takes."
)


def run(lab: Lab) -> Outcome:
    """Measure that VAE, its conditional form, and the conditional LAE."""
    settings = _settings(lab)
    found = list(lab.each_seed(settings))
    tables = [_errors(lab, found), _anomalies(lab, found)]
    pictures = _pictures(lab, found[0]) if found else {}
    two = lab.find(**settings | {"latent_dim": 2}, seed=0)
    if two is not None:
        draw_latents(lab, {"VAE, one hidden layer": two}, "vae-latents.png")
        pictures["vae-latents.png"] = "With two latents: where held-out images lie."
    conditional, drawn = _conditional(lab)
    setting = (
        "Digits; one hidden layer of 64, 20 latents, Adam at 1e-3, 80 epochs; foreign images are "
        "the same, turned by a quarter."
        if lab.quick
        else "MNIST; one hidden layer of 256, 200 latents, Adam at 1e-3, batches of 128, 50 "
        "epochs; foreign images are those of Fashion-MNIST."
    )
    title = "Noise, anomalies and conditional generation with a VAE"
    return lab.outcome("vae", title, setting, [*tables, conditional], pictures | drawn)


def _settings(lab: Lab) -> dict[str, Any]:
    if lab.quick:
        return {"model": "vae", "latent_dim": 20, "depth": 1, "epochs": 80}
    return {
        "model": "vae",
        "latent_dim": 200,
        "depth": 1,
        "learning_rate": 1e-3,
        "batch_size": 128,
        "epochs": 50,
        "patience": 0,
    }


def _errors(lab: Lab, found: list[SavedRun]) -> ResultTable:
    images = lab.held_out
    rows: list[list[Cell]] = []
    for noise in (0.0, *NOISES):
        row: list[Cell] = [f"noise {noise:g}" if noise else "clean", None if noise else VAE_MSE]
        for draw in (False, True):
            values = [explore.reconstruct(run, images, noise=noise, draw=draw).mse for run in found]
            row.append(stat(values) if values else NOT_RUN)
        rows.append(row)
    rows.insert(1, ["noise of unknown strength", VAE_NOISY_MSE, None, None])
    columns = {
        "input": "",
        "MSE, De León Martínez 2024": ".5f",
        "MSE from the mean": ".5f",
        "MSE from a draw": ".5f",
    }
    return ResultTable("Reconstruction error per pixel", columns, rows, ERROR_NOTE)


def _anomalies(lab: Lab, models: list[SavedRun]) -> ResultTable:
    columns = {
        "score": "",
        "kept, De León Martínez 2024": ".1%",
        "kept": ".1%",
        "found": ".1%",
        "AUROC": ".4f",
    }
    rows: list[list[Cell]] = []
    for score, count in (("mse", 4000), ("elbo", 4000), ("likelihood", 400)):
        printed: dict[str, Cell] = {
            "kept, De León Martínez 2024": VAE_KEPT if score == "mse" else None
        }
        found = over_seeds(_detect(lab, run, score, count) for run in models)
        rows.append(make_row(columns, score, printed, found))
    return ResultTable("Anomaly detection", columns, rows, ANOMALY_NOTE)


def _detect(lab: Lab, run: SavedRun, score: str, count: int) -> dict[str, float]:
    some = lab.held_out.first(count)
    found = detect(run.model, some, _foreign(lab, some, count), score)
    return {"kept": found.familiar_kept, "found": found.foreign_found, "AUROC": found.auroc}


def _foreign(lab: Lab, familiar: ImageSet, count: int) -> ImageSet:
    if lab.quick:
        return rotated(familiar)
    images = load_test("fashion-mnist", lab.data_dir, download=lab.config().download)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    return images.subset(order[:count])


def _pictures(lab: Lab, run: SavedRun) -> dict[str, str]:
    images = lab.held_out
    some = images.subset(torch.arange(10))
    rows = []
    for noise in (0.0, 0.2):
        found = explore.reconstruct(run, some, noise=noise)
        rows += [(f"noise {noise:g}" if noise else "images", found.shown)]
        rows += [("reconstructions", found.reconstructions)]
    plots.save_rows(lab.picture("vae-noise.png"), rows)
    firsts = (images.labels.tolist().index(label) for label in (0, 1))
    ends = [explore.find_point(run, f"image:{k}", lambda: images) for k in firsts]
    lines = explore.interpolate(run, ends, 12)
    plots.save_rows(lab.picture("vae-interpolation.png"), [("0 to 1", line) for line in lines])
    return {
        "vae-noise.png": "Reconstructions of clean and of noisy images.",
        "vae-interpolation.png": "From the latent of a zero to that of a one.",
    }


def _conditional(lab: Lab) -> tuple[ResultTable, dict[str, str]]:
    """Train the conditional models, and say how often a sample is recognised as its class."""
    judges = [model for model, _ in classifiers(lab, "none")]
    form: dict[str, Any] = {"latent_dim": 8, "conditional": True}
    if not lab.quick:
        form |= SHORT
    wanted: dict[str, dict[str, Any]] = {
        "VAE": {"model": "vae"} | form,
        "LAE, prior and MH": sound_lae(**form),
    }
    rows: list[list[Cell]] = []
    pictures: dict[str, str] = {}
    for name, settings in wanted.items():
        found = list(lab.each_seed(settings))
        shares = [_recognised(lab, run, judges[0]) for run in found if judges]
        rows.append([name, stat(shares) if shares else NOT_RUN])
        if found:
            file = f"conditional-{name[:3].lower()}.png"
            plots.save_rows(lab.picture(file), _samples(lab, found[0], 10))
            pictures[file] = f"Conditional {name}: decoded z ~ N(0, I), one class per row."
    note = "Eight latents, three hidden layers"
    note += "" if lab.quick else ", batches of 512, 20 epochs at 1e-3"
    note += ". Recognised is the share of 50 samples per class that the classifier without "
    note += "neighbours (table 7 of Bisht 2023) takes for their class."
    if judges:
        share = classify.score(judges[0], lab.held_out).accuracy
        note += f" Of held-out images it is {share:.1%}."
    columns = {"model": "", "recognised": ".1%"}
    return ResultTable("Class-conditional generation", columns, rows, note), pictures


def _samples(lab: Lab, run: SavedRun, count: int) -> list[plots.Row]:
    rows = []
    for seed, name in enumerate(lab.held_out.class_names):
        of_class = explore.choose_label(run, name, lambda: lab.held_out)
        rows.append((name, explore.sample(of_class, count, seed=seed)))
    return rows


def _recognised(lab: Lab, run: SavedRun, judge: ConvClassifier) -> float:
    """Share of samples that are what they should be."""
    samples = [pixels for _, pixels in _samples(lab, run, 50)]
    labels = torch.arange(len(samples)).repeat_interleave(50)
    found = ImageSet(torch.cat(samples), labels, lab.held_out.class_names)
    return classify.score(judge, found).accuracy
