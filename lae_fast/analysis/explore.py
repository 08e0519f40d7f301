"""Encode, decode, sample, interpolate and traverse with a trained model.

Each function takes a `lae_fast.analysis.saved.SavedRun`, and held-out images if it needs them. The
model computes on the device of its weights. Latents and pictures, which are bytes
``(n, c, h, w)``, are returned on the CPU.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lae_fast.analysis.saved import SavedRun
from lae_fast.data import ImageSet
from lae_fast.errors import ConfigError
from lae_fast.ops.devices import normal


@dataclass(frozen=True)
class Reconstructions:
    """Images, the encoder's input, and the reconstructions.

    Attributes:
        originals, shown, reconstructions: ``(n, c, h, w)`` uint8.
        mse: mean squared error against the originals, per pixel in [0, 1].
        nll: -log p(original | z), nats per image, with z encoded from ``shown``.
    """

    originals: Tensor
    shown: Tensor
    reconstructions: Tensor
    mse: float
    nll: float


@dataclass(frozen=True)
class Latents:
    """Mean latents ``(n, d_z)`` and labels ``(n,)`` of images, and the classes' names."""

    values: Tensor
    labels: Tensor
    class_names: tuple[str, ...]


def choose_label(run: SavedRun, name: str | None, held_out: Callable[[], ImageSet]) -> SavedRun:
    """The run, its conditional model decoding one class.

    Args:
        run: the model.
        name: of the class; None decodes all classes in rotation, one image after another.
        held_out: returns images that know the classes' names.

    Raises:
        ConfigError: there is no such class, or the model is not conditional.
    """
    if name is None:
        return replace(run, label=None)
    if not run.config.conditional:
        raise ConfigError(f"'{run.path.name}' is not conditional; drop --label")
    return replace(run, label=_class_index(name, held_out()))


@torch.no_grad()
def sample(
    run: SavedRun, count: int, *, law: str = "prior", images: ImageSet | None = None, seed: int = 0
) -> Tensor:
    """Images of random latents, ``(count, c, h, w)`` uint8.

    Args:
        run: the model.
        count: number of images.
        law: ``prior`` draws z ~ N(0, I). ``data`` draws from the Gaussian with the mean and the
            covariance of the mean latents of ``images``, for models trained without a prior: their
            latents are far from N(0, I).
        images: at least 2 held-out images, for ``data``.
        seed: of the draws.
    """
    z = torch.randn(count, run.model.latent_dim, generator=torch.Generator().manual_seed(seed))
    if law == "data":
        if images is None or len(images) < 2:
            raise ValueError("law 'data' needs at least 2 images")
        means = latents_of(run, images).values
        centred = means - means.mean(0)
        # The covariance's root from singular values: a Cholesky factor needs every latent alive.
        _, spread, axes = torch.linalg.svd(centred, full_matrices=False)
        root = (spread / (len(means) - 1) ** 0.5)[:, None] * axes
        z = means.mean(0) + z[:, : len(root)] @ root
    return run.decode(z)


@torch.no_grad()
def reconstruct(
    run: SavedRun, images: ImageSet, *, noise: float = 0.0, draw: bool = False, seed: int = 0
) -> Reconstructions:
    """Images encoded and decoded, and their errors.

    Args:
        run: the model.
        images: what to reconstruct.
        noise: standard deviation of Gaussian noise on the encoder's input, which is then clamped to
            [0, 1]. Errors are against the clean images.
        draw: decode one draw from q(z | x) instead of its mean.
        seed: of the noise and the draw.
    """
    generator = torch.Generator().manual_seed(seed)
    shown, decoded, square, nll = [], [], 0.0, 0.0
    for model, x in run.model.over(images):
        noisy = (x + noise * normal(x.shape, generator, x)).clamp(0, 1) if noise else x
        z = model.encode(noisy)
        if draw:
            z = model.draw(noisy, normal(z.shape, generator, z))
        mean = model.decode(z)
        square += float((mean - x).square().sum(dtype=torch.float64))
        nll += float(model.nll(x, z).sum(dtype=torch.float64))
        shown.append(run.as_images(noisy))
        decoded.append(run.as_images(mean))
    mse, nll = square / images.images.numel(), nll / len(images)
    return Reconstructions(images.images.cpu(), torch.cat(shown), torch.cat(decoded), mse, nll)


@torch.no_grad()
def latents_of(run: SavedRun, images: ImageSet) -> Latents:
    """Mean latents of images, with their labels."""
    values = torch.cat([model.encode(x) for model, x in run.model.over(images)])
    return Latents(values.cpu(), images.labels.cpu(), images.class_names)


def find_point(run: SavedRun, text: str, held_out: Callable[[], ImageSet]) -> Tensor:
    """The latent that ``text`` names, ``(d_z,)``.

    ``point:0.5,-1`` is the latent itself, ``image:12`` the mean latent of held-out image 12,
    ``class:7`` the mean over the held-out images of the class named 7.

    Raises:
        ConfigError: ``text`` is none of these, or there is no such image or class.
    """
    kind, _, rest = text.partition(":")
    if kind == "point":
        return _coordinates(rest, run.model.latent_dim)
    if kind == "image":
        images = held_out()
        if not rest.isdecimal() or int(rest) >= len(images):
            raise ConfigError(f"no held-out image '{rest}'; there are 0 to {len(images) - 1}")
        return latents_of(run, images.subset(torch.tensor([int(rest)]))).values[0]
    if kind == "class":
        return _class_mean(run, rest, held_out())
    raise ConfigError(f"'{text}' is not a latent; write point:0,1 or image:12 or class:7")


def _coordinates(text: str, latent_dim: int) -> Tensor:
    try:
        values = torch.tensor([float(part) for part in text.split(",")])
    except ValueError as error:
        raise ConfigError(f"'point:{text}' is not a list of numbers such as 0.5,-1") from error
    if len(values) != latent_dim or not bool(torch.isfinite(values).all()):
        raise ConfigError(
            f"'point:{text}' must be {latent_dim} finite numbers, one per latent dimension"
        )
    return values


def _class_mean(run: SavedRun, name: str, images: ImageSet) -> Tensor:
    members = images.subset(images.labels == _class_index(name, images))
    if len(members) == 0:
        raise ConfigError(f"no held-out image is of the class '{name}'")
    return latents_of(run, members).values.mean(0)


def _class_index(name: str, images: ImageSet) -> int:
    if name not in images.class_names:
        known = ", ".join(images.class_names) or "none: the data set has no labels"
        raise ConfigError(f"no class '{name}'; there are {known}")
    return images.class_names.index(name)


@torch.no_grad()
def interpolate(run: SavedRun, corners: list[Tensor], steps: int) -> list[Tensor]:
    """Images along the line between two latents, or over the square between four.

    Args:
        run: the model.
        corners: two latents ``(d_z,)``; or four: top left, top right, bottom left, bottom right.
        steps: images per side, at least 2.

    Returns:
        rows of images, each ``(steps, c, h, w)``.

    Raises:
        ConfigError: another number of latents, or too few steps.
    """
    if len(corners) not in (2, 4) or steps < 2:
        raise ConfigError(
            f"cannot interpolate between {len(corners)} latents in {steps} steps; give 2 or 4 "
            "latents and at least 2 steps"
        )
    along = torch.linspace(0, 1, steps)[:, None]
    edges = [a + along * (b - a) for a, b in zip(corners[::2], corners[1::2], strict=True)]
    down = torch.linspace(0, 1, steps if len(edges) == 2 else 1)
    rows = [edges[0] + share * (edges[-1] - edges[0]) for share in down]
    return [run.decode(z) for z in rows]


@torch.no_grad()
def traverse(
    run: SavedRun,
    centre: Tensor,
    *,
    spans: Tensor,
    steps: int = 9,
    dims: tuple[int, ...] | None = None,
) -> dict[int, Tensor]:
    """Images along each latent dimension, the others staying at ``centre``.

    Args:
        run: the model.
        centre: a latent, ``(d_z,)``.
        spans: how far each dimension goes to either side, ``(d_z,)``.
        steps: images per dimension.
        dims: which dimensions; None for all.

    Returns:
        dimension -> images ``(steps, c, h, w)``.

    Raises:
        ConfigError: there is no such dimension.
    """
    chosen = tuple(range(len(centre))) if dims is None else dims
    for dim in chosen:
        if not 0 <= dim < len(centre):
            raise ConfigError(f"no latent dimension {dim}; there are 0 to {len(centre) - 1}")
    moves = torch.linspace(-1, 1, steps)
    found = {}
    for dim in chosen:
        z = centre.repeat(steps, 1)
        z[:, dim] += spans[dim] * moves
        found[dim] = run.decode(z)
    return found
