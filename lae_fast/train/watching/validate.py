"""Validation: the model's own loss, and whether its decoder uses the latents."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from lae_fast.data import ImageSet
from lae_fast.models import Model
from lae_fast.ops.devices import device_of, normal


@dataclass(frozen=True)
class Validation:
    """Means over the validation images, nats per image.

    Attributes:
        reconstruction: -log p(x | z).
        prior: a VAE's KL term, or ``||z||^2 / 2`` of an LAE, whether or not its potential has it.
        latents: mean latents of every image, ``(n, d_z)``, on the CPU.
        latent_gain: how much larger -log p(x | z) is with the latents of other images, over the
            first 2048 images. Near 0 if the decoder ignores z.
    """

    reconstruction: float
    prior: float
    latents: Tensor
    latent_gain: float


@torch.no_grad()
def validate(model: Model, images: ImageSet, *, seed: int = 0) -> Validation:
    """Evaluate a model on images. The same seed draws the same noise, so epochs are comparable."""
    generator = torch.Generator().manual_seed(seed)
    totals = torch.zeros(2, dtype=torch.float64, device=device_of(model))
    latents: list[Tensor] = []
    gain = math.nan
    for there, x in model.over(images):
        mean = there.encode(x)
        terms = there.terms(x, normal(mean.shape, generator, mean))
        for total, term in zip(totals, terms, strict=True):
            total += term.sum(dtype=torch.float64)
        if not latents:
            gain = float(there.nll(x, mean.roll(1, 0)).mean() - there.nll(x, mean).mean())
        latents.append(mean)
    reconstruction, prior = (totals / len(images)).tolist()
    return Validation(reconstruction, prior, torch.cat(latents).cpu(), gain)
