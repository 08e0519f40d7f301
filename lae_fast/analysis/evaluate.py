"""Held-out log-likelihood of a run's model, and how its Langevin chains mix."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lae_fast import progress
from lae_fast.analysis.saved import held_out_images, open_run
from lae_fast.data import ImageSet
from lae_fast.models import Model
from lae_fast.models.autoencoder import Autoencoder
from lae_fast.ops.devices import normal
from lae_fast.sampling.diagnostics import effective_sample_size, split_rhat
from lae_fast.sampling.marginal import (
    BACKWARD,
    CHAINS,
    REFINE_STEPS,
    TEMPERATURES,
    Estimate,
    annealed_importance_sampling,
    bidirectional_bounds,
    refined_importance_sampling,
)
from lae_fast.sampling.posterior import sample_per_image

CHAIN_IMAGES, DRAWS, WARMUP = 64, 2000, 1000
"""Images whose chains are judged, draws per chain, and steps before them."""
CHUNK = 500
"""Images whose likelihood is estimated together."""
CALL = 20
"""What a call of the decoder costs beside its images, in images; measured on one core."""
BOUND_SAMPLES = 10
SIMULATION = 2**32
"""What sets the seed of simulated images apart."""


@dataclass(frozen=True)
class ChainReport:
    """Preconditioned Langevin chains at fixed weights on the first `CHAIN_IMAGES` images.

    Attributes:
        accept_prob: mean acceptance probability after warm-up.
        step_size: eta that the warm-up settled on, in units of each posterior's own variances.
        ess_per_step: effective samples of z per Langevin step; median over images and dimensions.
        ess_per_second: effective samples of z per second, summed over images.
        split_rhat: split R-hat of z; 95th percentile over images and dimensions.
        posterior_std: standard deviation of z given an image; mean over images and dimensions.
        latent_mean, latent_std: of the aggregate posterior, per dimension; the prior has 0 and 1.
    """

    accept_prob: float
    step_size: float
    ess_per_step: float
    ess_per_second: float
    split_rhat: float
    posterior_std: float
    latent_mean: tuple[float, ...]
    latent_std: tuple[float, ...]


@dataclass(frozen=True)
class Simulated:
    """-log p(x) of images that the model drew itself, whose truth is known from both sides.

    Attributes:
        images: their number.
        lower, upper: mean -log p(x) by annealed importance sampling backwards, and forwards. The
            truth lies between them in expectation.
        nll: the same, importance-sampled.
    """

    images: int
    lower: float
    upper: float
    nll: float


@dataclass(frozen=True)
class Report:
    """Result of `evaluate_run`. Likelihoods are nats per image, with the prior N(0, I).

    Attributes:
        run, model, dataset: the run's name, and its settings of these names.
        images: number of held-out images.
        samples: importance samples per image.
        nll, nll_error: importance-sampled -log p(x) and its standard error over images.
        effective: mean share of importance samples that carry the estimate.
        negative_elbo: negative ELBO with the model's own q(z | x), `BOUND_SAMPLES` samples.
        dimensions: pixels times channels per image, for figures per dimension.
        ais, ais_error: -log p(x) of the first images by annealed importance sampling, and its
            standard error over these images; None if not asked for.
        ais_images: number of these images.
        ais_nll: importance-sampled -log p(x) of these images.
        simulated: how far both estimates are off, on as many images that the model drew; None
            without annealed importance sampling.
        chain: how posterior chains mix.
    """

    run: str
    model: str
    dataset: str
    images: int
    samples: int
    nll: float
    nll_error: float
    effective: float
    negative_elbo: float
    dimensions: int
    ais: float | None
    ais_error: float | None
    ais_images: int
    ais_nll: float | None
    simulated: Simulated | None
    chain: ChainReport


def evaluate_run(
    run: Path,
    *,
    checkpoint: str = "best",
    images: int = 1000,
    samples: int = 5000,
    ais_images: int = 0,
    data_dir: str | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> Report:
    """Evaluate a run's model on held-out images (the test set where there is one).

    Args:
        run: the run folder.
        checkpoint: ``best`` or ``last``.
        images: how many images, in a fixed shuffled order.
        samples: importance samples per image.
        ais_images: on how many images to run annealed importance sampling too.
        data_dir: folder of the data set, if it has moved since the training.
        seed: of all draws.
        device: where to compute.

    Raises:
        CheckpointError: the run has no such checkpoint, or it does not fit its configuration.
        DataError: the data set cannot be read.
    """
    saved = open_run(run, checkpoint, device)
    config, model = saved.config, saved.model
    some = held_out_images(config, data_dir).first(images).to(device)
    sampling, annealing, simulating, chaining = progress.parts(
        *_work(len(some), samples, ais_images)
    )
    with sampling:
        estimate = importance_sampled(model, some, samples=samples, seed=seed)
    ais = simulated = None
    if ais_images:
        first, x = next(model.over(some, ais_images))
        nll, shape = partial(first.nll, x), (len(x), model.latent_dim)
        with annealing:
            ais = annealed_importance_sampling(nll, shape, seed=seed, device=device)
        with simulating:
            simulated = simulate(model, some, ais_images, samples, seed=seed)
    with chaining:
        chain = chain_report(model, some, seed=seed)
    return Report(
        run=run.name,
        model=config.model,
        dataset=config.dataset,
        images=len(some),
        samples=samples,
        nll=estimate.mean,
        nll_error=estimate.standard_error,
        effective=float(estimate.effective.mean()),
        negative_elbo=own_bound(*next(model.over(some, len(some))), seed=seed),
        dimensions=math.prod(some.image_shape),
        ais=None if ais is None else ais.mean,
        ais_error=None if ais is None else ais.standard_error,
        ais_images=min(ais_images, len(some)),
        ais_nll=None if ais is None else float(estimate.nll[:ais_images].mean()),
        simulated=simulated,
        chain=chain,
    )


def _likelihood_work(samples: int) -> float:
    """How often importance sampling decodes an image."""
    return BACKWARD * REFINE_STEPS + samples


def _path_work(chains: int) -> float:
    """How often annealed chains decode an image."""
    return BACKWARD * TEMPERATURES * chains


def _work(images: int, samples: int, ais_images: int) -> tuple[float, float, float, float]:
    """About how long the parts of an evaluation take, in units of a decoded image."""
    likelihood = _likelihood_work(samples)
    some, few, first = images + CALL, ais_images + CALL, min(images, CHAIN_IMAGES) + CALL
    annealed = _path_work(CHAINS + 1) * few
    simulated = (_path_work(2 * CHAINS + 1) + likelihood) * few
    if not ais_images:
        annealed = simulated = 0.0
    return likelihood * some, annealed, simulated, 2 * CHAINS * (DRAWS + WARMUP) * first


def importance_sampled(model: Model, images: ImageSet, *, samples: int, seed: int = 0) -> Estimate:
    """-log p(x_i) of images, each with a proposal that is refined from the encoder's latents."""
    batches = ((partial(there.nll, x), there.encode(x)) for there, x in model.over(images, CHUNK))
    counted = progress.steps(batches, -(-len(images) // CHUNK))
    return refined_importance_sampling(counted, samples=samples, seed=seed)


def simulate(
    model: Model, images: ImageSet, count: int, samples: int, *, seed: int = 0
) -> Simulated:
    """Draw as many images from the model, and estimate -log p(x) of each in every way.

    Args:
        model: draws them and is judged.
        images: whose labels the drawn images get, where the model is conditional.
        count: how many, at most as many as there are images.
        samples: importance samples per image.
        seed: of all draws.
    """
    there, like = next(model.over(images, count))
    # Another seed than that of the estimates, whose first draws are of the prior, too.
    generator = torch.Generator().manual_seed(seed + SIMULATION)
    z = normal((len(like), model.latent_dim), generator, like)
    with torch.no_grad():
        x = there.likelihood.draw(there.decoder(z), generator)
    nll = partial(there.nll, x)
    bounding, sampling = progress.parts(_path_work(2 * CHAINS + 1), _likelihood_work(samples))
    with bounding:
        bounds = bidirectional_bounds(nll, z, seed=seed)
    with sampling:
        estimate = refined_importance_sampling([(nll, there.encode(x))], samples=samples, seed=seed)
    lower, upper = float(bounds.lower.mean()), float(bounds.upper.mean())
    return Simulated(len(x), lower, upper, estimate.mean)


@torch.no_grad()
def own_bound(model: Autoencoder, x: Tensor, *, seed: int = 0) -> float:
    """Negative ELBO of images ``(n, d_x)`` with the model's own q(z | x), nats per image."""
    generator = torch.Generator().manual_seed(seed)
    total = 0.0
    for _ in range(BOUND_SAMPLES):
        nll, prior = model.terms(x, normal((len(x), model.latent_dim), generator, x))
        total += float((nll + prior).double().mean())
    return total / BOUND_SAMPLES - model.own_entropy


def chain_report(model: Model, images: ImageSet, *, seed: int = 0) -> ChainReport:
    """How well each image's Langevin chains mix, for the first `CHAIN_IMAGES` images."""
    there, x = next(model.over(images, CHAIN_IMAGES))
    start = there.encode(x)
    began = time.perf_counter()
    chains = sample_per_image(
        partial(there.nll, x), start, draws=DRAWS, warmup=WARMUP, precondition=True, seed=seed
    )
    seconds = (time.perf_counter() - began) * DRAWS / (DRAWS + WARMUP)
    size = effective_sample_size(chains.latents)
    rhat = split_rhat(chains.latents)
    within = chains.latents.flatten(0, 1)
    means = torch.cat([there.encode(x) for there, x in model.over(images)])
    # Law of total variance: the variance of the means, plus the mean variance around them.
    spread = within.var(0).mean(0)
    return ChainReport(
        accept_prob=chains.accept_prob,
        step_size=chains.step_size,
        ess_per_step=float(np.median(size)) / (DRAWS * len(chains.latents)),
        ess_per_second=float(size.sum()) / size.shape[-1] / seconds,
        split_rhat=float(np.quantile(rhat, 0.95)),
        posterior_std=float(within.std(0).mean()),
        latent_mean=tuple(means.mean(0).tolist()),
        latent_std=tuple((means.var(0) + spread).sqrt().tolist()),
    )
