"""The argument of Taniguchi et al. 2022 in numbers: samplers against known posteriors."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from lae_fast.experiments.lab import Lab
from lae_fast.experiments.outcome import Cell, Outcome, ResultTable, make_row, over_seeds
from lae_fast.experiments.studies.square import relu_network
from lae_fast.experiments.studies.targets import (
    Target,
    conjugate,
    exact_draws,
    neural,
    total_variation,
)
from lae_fast.ops.devices import normal
from lae_fast.sampling.diagnostics import effective_sample_size
from lae_fast.sampling.posterior import Chains, sample_per_image, sample_posterior

CHAINS = 4
BATCHES = 2000
"""That the amortised Gaussian is trained for."""
COLUMNS = {
    "sampler": "",
    "total variation": ".3f",
    "of exact draws": ".3f",
    "acceptance rate": ".2f",
    "ESS": ".0f",
    "ESS per second": ".0f",
}
NOTE = (
    "Total variation is between the draws and the true posterior over a grid of 25 x 25 cells, "
    "mean over data points. Beside it stands that of independent exact draws, as many as the "
    "chain's mean effective sample size: a scale and no bound, because cell frequencies may mix "
    "faster than means. Seconds are of one core.\n\n"
    "The effective sample size says nothing of whether the law is the right one. Samplers without "
    "Metropolis-Hastings (MH) run at the step size that MH settles on, and their acceptance rate "
    "is what it would have been. The amortised Gaussian is diagonal, from a network of 64 units "
    f"per layer trained for {BATCHES} batches."
)


@dataclass(frozen=True)
class Draws:
    """Draws ``(k, n, 2)`` of a sampler and what they cost; no acceptance without a chain."""

    values: Tensor
    acceptance: float | None
    size: float
    seconds: float


def run(lab: Lab) -> Outcome:
    """Compare the samplers on both targets."""
    draws = 2000 if lab.quick else 10_000
    tables = []
    for make in (conjugate, neural):
        rows: list[list[Cell]] = []
        for name, sampler in SAMPLERS.items():
            found = [
                figures_of(make(seed=seed).to(lab.device), sampler, draws, seed)
                for seed in lab.seeds
            ]
            rows.append(make_row(COLUMNS, name, {}, over_seeds(found)))
        note = NOTE if make is neural else ""
        tables.append(ResultTable(f"Target: {make().name}", COLUMNS, rows, note))
    setting = (
        f"8 data points, 2 latents, {CHAINS} chains of {draws} draws after as many of warm-up."
    )
    return lab.outcome("exactness", "Do the samplers sample the posterior?", setting, tables, {})


def figures_of(
    target: Target, sampler: Callable[[Target, int, int], Draws], draws: int, seed: int
) -> dict[str, float]:
    """What a sampler reaches on a target in so many draws, by the headings of `COLUMNS`."""
    masses = target.cell_masses()
    found = sampler(target, draws, seed)
    figures = {
        "total variation": total_variation(found.values, masses),
        "of exact draws": exact_draws(masses, max(1, round(found.size)), seed),
        "ESS": found.size,
        "ESS per second": found.size / found.seconds,
    }
    return figures if found.acceptance is None else figures | {"acceptance rate": found.acceptance}


def langevin(
    make_sampler: Callable[[Target], Callable[..., Chains]],
    target: Target,
    draws: int,
    seed: int,
    *,
    pilot_chains: int | None = None,
) -> Draws:
    """Draws of Langevin chains.

    Args:
        make_sampler: `ald` or `per_point`.
        target: what is sampled.
        draws: per chain, after as many steps of warm-up.
        seed: of all noise.
        pilot_chains: leave Metropolis-Hastings out, at the step size on which so many chains with
            it settle; None keeps it.
    """
    sampler = partial(make_sampler(target), warmup=draws, seed=seed)
    if pilot_chains is not None:
        step_size = sampler(draws=1, chains=pilot_chains).step_size
        sampler = partial(sampler, mh=False, step_size=step_size)
    began = time.perf_counter()
    chains = sampler(draws=draws, chains=CHAINS)
    seconds = time.perf_counter() - began
    size = float(torch.as_tensor(effective_sample_size(chains.latents)).mean())
    return Draws(chains.latents.flatten(0, 1).cpu(), chains.accept_prob, size, seconds)


def ald(target: Target) -> Callable[..., Chains]:
    """Amortized Langevin dynamics (Algorithm 1)."""
    return partial(sample_posterior, target.nll, target.features, 2)


def per_point(target: Target) -> Callable[..., Chains]:
    """Langevin chains of each data point's own, started around the origin."""
    return partial(sample_per_image, target.nll, target.x.new_zeros(len(target.x), 2))


def amortised_gaussian(target: Target, draws: int, seed: int) -> Draws:
    """A VAE's encoder for the same decoder, trained on data from the model; independent draws."""
    began = time.perf_counter()
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = relu_network(target.x.shape[1], 64, 4).to(target.x)
    optimizer = torch.optim.Adam(encoder.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, BATCHES)
    for _ in range(BATCHES):
        x = target.simulate(256, generator)
        mean, log_std = encoder(x).chunk(2, dim=1)
        z = mean + torch.exp(log_std) * normal(mean.shape, generator, mean)
        bound = target.nll_of(z, x) + z.square().sum(1) / 2 - log_std.sum(1)
        optimizer.zero_grad()
        bound.mean().backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        mean, log_std = encoder(target.x).chunk(2, dim=1)
        noise = normal((CHAINS * draws, *mean.shape), generator, mean)
        values = (mean + torch.exp(log_std) * noise).cpu()
    return Draws(values, None, float(CHAINS * draws), time.perf_counter() - began)


SAMPLERS: dict[str, Callable[[Target, int, int], Draws]] = {
    "ALD": partial(langevin, ald),
    "ALD without MH": partial(langevin, ald, pilot_chains=1),
    "Langevin per point": partial(langevin, per_point),
    "Langevin per point without MH": partial(langevin, per_point, pilot_chains=CHAINS),
    "amortised Gaussian": amortised_gaussian,
}
"""Name -> draws from a target: how many per chain, and a seed."""
