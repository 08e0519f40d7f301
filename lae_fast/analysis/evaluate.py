"""What a finished run is worth: held-out likelihood, and whether its chains can be trusted."""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lae_fast import data
from lae_fast.analysis.saved import held_out_images, open_run
from lae_fast.models import Model
from lae_fast.ops.devices import normal
from lae_fast.sampling.diagnostics import effective_sample_size, split_rhat
from lae_fast.sampling.marginal import (
    annealed_importance_sampling,
    importance_sampling,
    refine_proposal,
)
from lae_fast.sampling.posterior import sample_per_image

CHAIN_IMAGES = 64
CHUNK = 500
BOUND_SAMPLES = 10


@dataclass(frozen=True)
class ChainReport:
    """Langevin chains at fixed weights on a few held-out images, preconditioned.

    Attributes:
        accept_prob: mean acceptance after warm-up.
        step_size: eta it settled on, in units of the posteriors' own variances.
        ess_per_step: effective samples of z a Langevin step; median over images and dimensions.
        ess_per_second: the same a second, all images together.
        split_rhat: 95th percentile over images and dimensions.
        posterior_std: mean standard deviation of z given an image.
        latent_mean, latent_std: of the aggregate posterior, a dimension; the prior has 0 and 1.
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
class Report:
    """Result of `evaluate_run`. Likelihoods are nats an image, of the model with its N(0, I) prior.

    Attributes:
        nll, nll_error: importance-sampled -log p(x) and its standard error over images.
        effective: mean share of importance samples that carry the estimate.
        negative_elbo: negative evidence lower bound with the model's own encoder, q(z | x) =
            N(phi g(x), 0.05^2) for an LAE as in the paper; `BOUND_SAMPLES` samples.
        dimensions: pixels an image, to state figures a dimension.
        ais, ais_error, ais_images: annealed importance sampling on the first images, when asked,
            and its standard error over these.
        ais_nll: importance-sampled -log p(x) of the same images.
        chain: see `ChainReport`.
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
    chain: ChainReport

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


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
        images: how many of them, in a fixed shuffled order.
        samples: importance samples an image.
        ais_images: on how many to run annealed importance sampling too.
        data_dir: where the data set lies, if not where the run found it.
        seed: of all draws.
        device: where to compute.

    Raises:
        CheckpointError, DataError: nothing to evaluate, or nothing to evaluate on.
    """
    saved = open_run(run, checkpoint, device)
    config, model = saved.config, saved.model
    some = held_out_images(config, data_dir)
    some = some.subset(torch.arange(min(images, len(some)))).to(device)
    x = data.to_pixels(some.images)
    parts = []
    for pixels, labels in some.chunks(CHUNK):
        there, chunk = model.given(labels), data.to_pixels(pixels)
        nll = partial(there.nll, chunk)
        proposal = refine_proposal(nll, there.encode(chunk), seed=seed)
        parts.append(importance_sampling(nll, proposal, samples=samples, seed=seed))
    values = torch.cat([part.nll for part in parts])
    ais = None
    if ais_images:
        first = x[:ais_images]
        nll = partial(model.given(some.labels[:ais_images]).nll, first)
        shape = (len(first), model.latent_dim)
        ais = annealed_importance_sampling(nll, shape, seed=seed, device=device)
    return Report(
        run=run.name,
        model=config.model,
        dataset=config.dataset,
        images=len(x),
        samples=samples,
        nll=float(values.mean()),
        nll_error=float(values.std()) / math.sqrt(len(values)),
        effective=float(torch.cat([part.effective for part in parts]).mean()),
        negative_elbo=own_bound(model.given(some.labels), x, seed=seed),
        dimensions=x.shape[1],
        ais=None if ais is None else ais.mean,
        ais_error=None if ais is None else ais.standard_error,
        ais_images=min(ais_images, len(x)),
        ais_nll=None if ais is None else float(values[:ais_images].mean()),
        chain=chain_report(model, x, some.labels, seed=seed),
    )


@torch.no_grad()
def own_bound(model: Model, x: Tensor, *, seed: int = 0) -> float:
    """Negative evidence lower bound of the model with its own encoder, nats an image."""
    generator = torch.Generator().manual_seed(seed)
    total = 0.0
    for _ in range(BOUND_SAMPLES):
        nll, prior = model.terms(x, normal((len(x), model.latent_dim), generator, x))
        total += float((nll + prior).double().mean())
    return total / BOUND_SAMPLES - model.own_entropy


def chain_report(model: Model, x: Tensor, labels: Tensor, *, seed: int = 0) -> ChainReport:
    """Run per-image chains on the first images and say how they mix."""
    some, there = x[:CHAIN_IMAGES], model.given(labels[:CHAIN_IMAGES])
    start = there.encode(some)
    began = time.perf_counter()
    draws, warmup = 2000, 1000
    chains = sample_per_image(
        partial(there.nll, some), start, draws=draws, warmup=warmup, precondition=True, seed=seed
    )
    seconds = (time.perf_counter() - began) * draws / (draws + warmup)
    size = effective_sample_size(chains.latents)
    rhat = split_rhat(chains.latents)
    within = chains.latents.flatten(0, 1)
    means = model.given(labels).encode(x)
    # Law of total variance: spread of the means, plus the spread around them.
    spread = within.var(0).mean(0)
    return ChainReport(
        accept_prob=chains.accept_prob,
        step_size=chains.step_size,
        ess_per_step=float(np.median(size)) / (draws * len(chains.latents)),
        ess_per_second=float(size.sum()) / size.shape[-1] / seconds,
        split_rhat=float(np.quantile(rhat, 0.95)),
        posterior_std=float(within.std(0).mean()),
        latent_mean=tuple(means.mean(0).tolist()),
        latent_std=tuple((means.var(0) + spread).sqrt().tolist()),
    )
