"""How the training's own chain mixes at the current weights: a short run of it on a few images."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TypedDict

import numpy as np
import torch

from lae_fast.config import TrainConfig
from lae_fast.data import ImageSet
from lae_fast.models.lae import LAE
from lae_fast.sampling.diagnostics import effective_sample_size, split_rhat
from lae_fast.sampling.posterior import sample_per_image, sample_posterior

IMAGES = 32
CHAINS = 4
DRAWS = 300


class Settings(TypedDict):
    """The arguments that both samplers take."""

    draws: int
    chains: int
    step_size: float
    mh: bool
    seed: int
    temperature: float
    prior: bool


@dataclass(frozen=True)
class ChainCheck:
    """Effective samples of z per Langevin step, and split R-hat.

    Both are medians over images and dimensions, because `CHAINS` chains of `DRAWS` steps are too
    few to estimate either for each.
    """

    ess_per_step: float
    split_rhat: float


def check_chain(config: TrainConfig, model: LAE, images: ImageSet, step_size: float) -> ChainCheck:
    """Run a configuration's chain on the first images, from the encoder's latents."""
    model, x = next(model.over(images, IMAGES))
    nll = partial(model.nll, x)
    with torch.no_grad():
        features, (start, std) = model.encoder(x), model.law(x)
    settings = Settings(
        draws=DRAWS,
        chains=CHAINS,
        step_size=step_size,
        mh=config.mh,
        seed=config.seed,
        temperature=config.temperature,
        prior=config.prior,
    )
    if config.per_image:
        scale = std if config.from_draw else None
        chains = sample_per_image(nll, start, spread=0.0, scale=scale, **settings)
    else:
        chains = sample_posterior(
            nll,
            features,
            model.latent_dim,
            whiten=config.whiten,
            damping=config.ridge,
            phi=model.phi,
            **settings,
        )
    size, rhat = effective_sample_size(chains.latents), split_rhat(chains.latents)
    return ChainCheck(float(np.median(size)) / (CHAINS * DRAWS), float(np.median(rhat)))
