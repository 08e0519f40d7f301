"""Posterior samples of images under a trained decoder, and whether their chains have mixed."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from lae_fast.analysis.saved import SavedRun
from lae_fast.data import ImageSet, to_pixels
from lae_fast.errors import ConfigError
from lae_fast.models import LAE, Model
from lae_fast.ops.devices import device_of
from lae_fast.sampling.diagnostics import effective_sample_size, split_rhat
from lae_fast.sampling.posterior import Chains, sample_per_image, sample_posterior


@dataclass(frozen=True)
class PosteriorSummary:
    """Result of `infer`, on the CPU.

    Attributes:
        chains: the draws of z, ``(chains, draws, n, d_z)``, and the acceptance.
        mean, std: of z given each image, ``(n, d_z)``.
        rhat, ess: split R-hat and effective sample size of z, ``(n, d_z)``.
        images: mean of the decoded draws of each image, as bytes ``(n, c, h, w)``.
        spread: their standard deviation, as bytes ``(n, c, h, w)``. 255 is one half, the most that
            a pixel in [0, 1] can have.
        seconds: how long the chains took.
    """

    chains: Chains
    mean: Tensor
    std: Tensor
    rhat: Tensor
    ess: Tensor
    images: Tensor
    spread: Tensor
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Summaries over all images and dimensions, as plain JSON values."""
        return {
            "images": len(self.mean),
            "chains": self.chains.latents.shape[0],
            "draws": self.chains.latents.shape[1],
            "accept_prob": self.chains.accept_prob,
            "step_size": self.chains.step_size,
            "ess_median": float(self.ess.median()),
            "ess_min": float(self.ess.min()),
            "ess_per_second": float(self.ess.mean(1).sum()) / self.seconds,
            "rhat_max": float(self.rhat.max()),
            "posterior_std": float(self.std.mean()),
            "seconds": self.seconds,
        }


def infer(
    run: SavedRun,
    images: ImageSet,
    *,
    method: str = "image",
    draws: int = 500,
    warmup: int = 500,
    chains: int = 4,
    mh: bool = True,
    seed: int = 0,
) -> PosteriorSummary:
    """Draws from p(z | x) for each image, with fixed weights, and their summaries.

    Args:
        run: the model.
        images: the x.
        method: ``image`` runs separate Langevin chains for each image. ``phi`` is Algorithm 1: a
            chain moves the encoder's last layer, which all images share (LAE only, at most as many
            images as features).
        draws, warmup, chains, mh, seed: as in `lae_fast.sampling.posterior.sample_per_image`.

    Raises:
        ConfigError: ``phi`` for a model without phi, or for too many images.
    """
    images = images.to(device_of(run.model))
    model = run.model.given(images.labels)
    x = to_pixels(images.images)
    nll = partial(model.nll, x)
    began = time.perf_counter()
    if method == "phi":
        if not isinstance(model, LAE):
            raise ConfigError(f"a {run.config.model} has no phi to sample; use --method image")
        features = model.encoder(x)
        if len(x) > features.shape[1]:
            raise ConfigError(
                f"sampling phi is exact for at most {features.shape[1]} images (one per feature), "
                f"not {len(x)}"
            )
        sampler = partial(sample_posterior, nll, features, model.latent_dim)
    else:
        sampler = partial(sample_per_image, nll, model.encode(x))
    result = sampler(draws=draws, warmup=warmup, chains=chains, mh=mh, seed=seed)
    seconds = time.perf_counter() - began
    mean_image, spread = _moments(model, result.latents.flatten(0, 1))
    result = replace(result, latents=result.latents.cpu())
    flat = result.latents.flatten(0, 1)
    return PosteriorSummary(
        result,
        flat.mean(0),
        flat.std(0),
        torch.as_tensor(split_rhat(result.latents)),
        torch.as_tensor(effective_sample_size(result.latents)),
        run.as_images(mean_image),
        run.as_images(2 * spread),
        seconds,
    )


@torch.no_grad()
def _moments(model: Model, draws: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of the decoded draws ``(k, n, d_z)``, each ``(n, d_x)``."""
    total = square = draws.new_zeros(())
    for z in draws:
        image = model.decode(z)
        total, square = total + image, square + image.square()
    mean = total / len(draws)
    return mean, (square / len(draws) - mean.square()).clamp(min=0).sqrt()
