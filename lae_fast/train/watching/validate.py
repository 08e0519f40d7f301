"""Validation: the model's own loss, and whether its decoder uses the latents."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lae_fast.data import ImageSet, to_pixels
from lae_fast.models import Model
from lae_fast.ops.devices import device_of, normal

CHUNK = 2048


@dataclass(frozen=True)
class Validation:
    """Means over the validation images, nats an image.

    Attributes:
        reconstruction: -log p(x | z).
        prior: ||z||^2 / 2 of an LAE, whether or not training includes it; a VAE's KL term.
        latents: mean latents of every image, ``(n, d_z)``, on the CPU.
        latent_gain: how much worse -log p(x | z) is with the latents of other images; near 0 when
            the decoder ignores z. Of the first chunk alone.
    """

    reconstruction: float
    prior: float
    latents: Tensor
    latent_gain: float


@torch.no_grad()
def validate(model: Model, images: ImageSet, *, seed: int = 0) -> Validation:
    """Evaluate a model; the same seed draws the same noise, so epochs are comparable."""
    device = device_of(model)
    images = images.to(device)
    generator = torch.Generator().manual_seed(seed)
    totals = torch.zeros(2, dtype=torch.float64, device=device)
    latents = []
    for chunk, labels in images.chunks(CHUNK):
        there, x = model.given(labels), to_pixels(chunk)
        mean = there.encode(x)
        terms = there.terms(x, normal(mean.shape, generator, mean))
        for total, term in zip(totals, terms, strict=True):
            total += term.sum(dtype=torch.float64)
        latents.append(mean)
    reconstruction, prior = (totals / len(images)).tolist()
    first = model.given(images.labels[:CHUNK])
    gain = _latent_gain(first, to_pixels(images.images[:CHUNK]), latents[0])
    return Validation(reconstruction, prior, torch.cat(latents).cpu(), gain)


def _latent_gain(model: Model, x: Tensor, z: Tensor) -> float:
    return float(model.nll(x, z.roll(1, 0)).mean() - model.nll(x, z).mean())
