"""Idler 2022: a uniform square to N(0, I) and back, over beta and lambda."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lae_fast.analysis import plots
from lae_fast.experiments.lab import Lab
from lae_fast.experiments.outcome import Cell, Outcome, ResultTable, over_seeds
from lae_fast.experiments.studies.square import SquareVAE, train_square
from lae_fast.ops.devices import device_of, normal

Floats = NDArray[np.float64]
BETAS = (0.001, 0.01, 0.1)
PENALTIES = (0.0, 0.05, 0.25)
ITERATIONS = {True: 1000, False: 5000}
"""Batches of a training, by whether the study is quick."""
POINTS = 4000
COLUMNS = {
    "latents": ".0f",
    "beta": "g",
    "lambda": "g",
    "KS of z": ".3f",
    "KS of |z|^2": ".3f",
    "kurtosis": ".2f",
    "MSE": ".5f",
    "KS of points from N(0, I)": ".3f",
    "quadrant kept": ".1%",
}
NOTE = (
    "After Idler 2022, who prints pictures only; beta is ours, and the units of lambda are not "
    "known.\n\n"
    "KS is the Kolmogorov-Smirnov distance: 0 for the law aimed at, and below 0.022 for 95 % of "
    "so many exact draws. It is taken of z from N(0, 1) (worst latent), of its squared norm "
    "from chi-squared, and of decoded N(0, I) from the uniform (worst coordinate). Excess "
    "kurtosis is 0 for a Gaussian and -1.2 for a uniform. MSE is per coordinate; predicting the "
    "mean would give 0.0833. Quadrant kept is how often the nearest neighbour of a latent comes "
    "from the same quadrant of the square. MSE and quadrant kept are of the encoder's means, "
    "everything else and the pictures of its draws."
)


def run(lab: Lab) -> Outcome:
    """Train over the grid, measure, and draw the latents and what comes back, by quadrant."""
    rows: list[list[Cell]] = []
    pictures = {}
    for latents in (2, 1):
        forward: dict[str, tuple[Floats, NDArray[np.int64]]] = {}
        back: dict[str, tuple[Floats, NDArray[np.int64]]] = {}
        for beta in BETAS[:: 2 if lab.quick else 1]:
            for penalty in PENALTIES[:: 2 if lab.quick else 1]:
                row, model = _measure(lab, latents, beta, penalty)
                rows.append(row)
                name = f"beta {beta:g}, lambda {penalty:g}"
                forward[name], back[name] = scatters(model)
        for kind, panels in (("latents", forward), ("back", back)):
            file = f"uniform-{kind}-{latents}.png"
            plots.save_scatter(lab.picture(file), panels)
            what = "Latents" if kind == "latents" else "Reconstructions"
            pictures[file] = f"{what} of the square with {latents} latent(s), coloured by quadrant."
    setting = "Two hidden layers of 30 ReLU each way; fresh uniform points on the unit square; "
    setting += f"{ITERATIONS[lab.quick]} batches of 256."
    table = ResultTable("Normality, reconstruction, and the way back", COLUMNS, rows, NOTE)
    return lab.outcome(
        "uniform", "Can a VAE turn a uniform square into a Gaussian?", setting, [table], pictures
    )


def _measure(lab: Lab, latents: int, beta: float, penalty: float) -> tuple[list[Cell], SquareVAE]:
    found = []
    for seed in reversed(lab.seeds):  # the first seed's model is the one that is drawn
        model = train_square(
            latents, beta, penalty, iterations=ITERATIONS[lab.quick], seed=seed, device=lab.device
        )
        found.append(statistics_of(model, seed))
    return [latents, beta, penalty, *over_seeds(found).values()], model


def quadrants(x: Tensor) -> Tensor:
    """Quadrant 0 to 3 of points ``(n, 2)`` of the unit square."""
    return (x[:, 0] > 0.5).long() + 2 * (x[:, 1] > 0.5).long()


@torch.no_grad()
def statistics_of(model: SquareVAE, seed: int = 0) -> dict[str, float]:
    """The figures of a row, by their columns."""
    from scipy import stats
    from sklearn.neighbors import KNeighborsClassifier

    generator = torch.Generator().manual_seed(seed + 1)
    x = torch.rand(POINTS, 2, generator=generator).to(device_of(model))
    z = model.draw(x, generator)
    means = model.posterior(x)[0]
    points = model.decode(normal(z.shape, generator, z)).double().cpu().numpy()
    error = float((model.decode(means) - x).square().mean())
    values = z.double().cpu().numpy()
    x, means = x.cpu(), means.cpu()
    radius = stats.kstest((values**2).sum(1), stats.chi2(values.shape[1]).cdf)
    half = POINTS // 2
    nearest = KNeighborsClassifier(1).fit(means[:half], quadrants(x[:half]))
    return {
        "z": max(float(stats.kstest(column, "norm").statistic) for column in values.T),
        "radius": float(radius.statistic),
        "kurtosis": float(np.mean(stats.kurtosis(values))),
        "mse": error,
        "back": max(float(stats.kstest(column, "uniform").statistic) for column in points.T),
        "quadrant": float(nearest.score(means[half:], quadrants(x[half:]))),
    }


@torch.no_grad()
def scatters(
    model: SquareVAE,
) -> tuple[tuple[Floats, NDArray[np.int64]], tuple[Floats, NDArray[np.int64]]]:
    """Points to draw, ``(2000, 2)``, and their quadrants: latents, and what comes back."""
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(2000, 2, generator=generator)
    z, labels = model.draw(x.to(device_of(model)), generator), quadrants(x).numpy()
    plane = z.double().cpu().numpy()
    if plane.shape[1] == 1:  # jitter, as in Idler 2022, shows the density
        jitter = 0.2 * torch.randn(z.shape, generator=generator).double().numpy()
        plane = np.concatenate([plane, jitter], axis=1)
    return (plane, labels), (model.decode(z).double().cpu().numpy(), labels)
