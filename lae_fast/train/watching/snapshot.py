"""Pictures of a model in training: latents, reconstructions, samples, interpolation, traversals."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lae_fast.data import ImageSet
from lae_fast.models import Model
from lae_fast.runs.files import own_folder, replace_file

LATENTS = 2000
"""Most latents in a snapshot."""
IMAGES = 16
"""Most originals and reconstructions; prior samples are as many."""
STRIP = 8
"""Images per interpolation or traversal."""
TRAVERSED = 8
"""Most latent dimensions that a snapshot traverses."""
REACH = 2.5
"""Prior standard deviations that a traversal goes to either side of 0."""


@torch.no_grad()
def write_snapshot(
    path: Path, model: Model, images: ImageSet, latents: Tensor, *, seed: int = 0
) -> None:
    """Write the ``.npz`` that viewers show.

    It holds ``latents``, float32 ``(m, d_z)``; ``labels``, int64 ``(m,)``; and pictures, uint8
    ``(k, c, h, w)``: ``originals``, ``reconstructions``, ``prior_samples`` (the same draws of z for
    the same seed, so that epochs can be compared) and ``interpolation`` (between the first two
    images). ``traversal``, uint8 ``(dimensions, k, c, h, w)``, varies one latent around 0.

    Args:
        path: the file to write.
        model: decodes the pictures.
        images: what to show.
        latents: mean latents of ``images``, ``(n, d_z)``.
        seed: of the prior samples.
    """
    originals = images.images[:IMAGES]
    shape = originals.shape[1:]
    z = latents[: len(originals)].to(originals.device)

    def decode(points: Tensor, labels: Tensor) -> np.ndarray:
        pixels = (model.given(labels).decode(points.to(z)) * 255).round().to(torch.uint8)
        return pixels.view(-1, *shape).cpu().numpy()

    labels = images.labels[:IMAGES]
    rotation = labels[torch.arange(IMAGES, device=labels.device) % len(labels)]
    content = io.BytesIO()
    np.savez_compressed(
        content,
        latents=latents[:LATENTS].float().numpy(),
        labels=images.labels[:LATENTS].cpu().numpy(),
        originals=originals.cpu().numpy(),
        reconstructions=decode(z, labels),
        prior_samples=decode(prior_draws(IMAGES, latents.shape[1], seed), rotation),
        interpolation=decode(line(z[0], z[-1 if len(z) == 1 else 1]), labels[:1]),
        traversal=np.stack([decode(points, labels[:1]) for points in traversals(latents.shape[1])]),
    )
    own_folder(path.parent.parent, path.parent.name)
    replace_file(path, content.getvalue())


def prior_draws(count: int, latent_dim: int, seed: int) -> Tensor:
    """Standard normal latents ``(count, latent_dim)``; a function of the seed."""
    return torch.randn(count, latent_dim, generator=torch.Generator().manual_seed(seed))


def line(start: Tensor, end: Tensor) -> Tensor:
    """`STRIP` points from one latent to another, ``(STRIP, d_z)``."""
    return torch.lerp(start, end, torch.linspace(0, 1, STRIP, device=start.device)[:, None])


def traversals(latent_dim: int) -> list[Tensor]:
    """For each of the first `TRAVERSED` dimensions, points that vary it alone, ``(STRIP, d_z)``."""
    values = torch.linspace(-REACH, REACH, STRIP)
    eye = torch.eye(latent_dim)[:TRAVERSED]
    return [values[:, None] * axis for axis in eye]
