"""What a trained model does with latents and images: the functions behind the verbs on run folders.

Each takes a `lae_fast.analysis.saved.SavedRun`, and held-out images where it needs some. The model
encodes and decodes where its weights are; latents and pictures (bytes ``(n, c, h, w)``) come back
on the CPU.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lae_fast.analysis.saved import SavedRun
from lae_fast.data import ImageSet, to_pixels
from lae_fast.errors import ConfigError
from lae_fast.ops.devices import device_of, normal

LAWS = ("prior", "data")
CHUNK = 2048


@dataclass(frozen=True)
class Reconstructions:
    """Images, what the model was shown, and what it made of it.

    Attributes:
        originals, shown, reconstructions: ``(n, c, h, w)`` uint8.
        mse: mean squared error against the originals, a pixel of [0, 1].
        nll: -log p(original | z) at the latents of what was shown, nats an image.
    """

    originals: Tensor
    shown: Tensor
    reconstructions: Tensor
    mse: float
    nll: float


@dataclass(frozen=True)
class Latents:
    """Mean latents ``(n, d_z)`` and labels ``(n,)`` of held-out images, and the classes' names."""

    values: Tensor
    labels: Tensor
    class_names: tuple[str, ...]


def make_generator(seed: int) -> torch.Generator:
    """A generator on the CPU, so that a seed gives the same draws on every device."""
    return torch.Generator().manual_seed(seed)


def choose_label(run: SavedRun, name: str | None, held_out: Callable[[], ImageSet]) -> SavedRun:
    """The run, with the class that its conditional model decodes.

    Args:
        run: the model.
        name: of a class; None decodes all classes in rotation, one image after another.
        held_out: gives images that know the classes' names.

    Raises:
        ConfigError: no such class, or the model is not conditional.
    """
    if name is None:
        return replace(run, label=None)
    if not run.config.conditional:
        raise ConfigError(f"'{run.path.name}' is not conditional; it has no label to choose")
    return replace(run, label=_class_index(name, held_out()))


@torch.no_grad()
def sample(
    run: SavedRun, count: int, *, law: str = "prior", images: ImageSet | None = None, seed: int = 0
) -> Tensor:
    """Decode random latents: ``(count, c, h, w)`` uint8.

    Args:
        run: the model.
        count: how many.
        law: ``prior`` draws z ~ N(0, I). ``data`` draws from the Gaussian with the mean and
            covariance of the latents of ``images``: what is left to do for a model trained without
            a prior, whose latents are nowhere near N(0, I).
        images: held-out images, for ``data``.
        seed: of the draws.
    """
    z = torch.randn(count, run.model.latent_dim, generator=make_generator(seed))
    if law == "data":
        if images is None or len(images) < 2:
            raise ValueError("the law of the data needs images")
        means = latents_of(run, images).values
        centred = means - means.mean(0)
        # A square root through the singular values, so that dead latents do no harm.
        _, spread, axes = torch.linalg.svd(centred, full_matrices=False)
        root = (spread / (len(means) - 1) ** 0.5)[:, None] * axes
        z = means.mean(0) + z[:, : len(root)] @ root
    return run.decode(z)


@torch.no_grad()
def reconstruct(
    run: SavedRun, images: ImageSet, *, noise: float = 0.0, draw: bool = False, seed: int = 0
) -> Reconstructions:
    """Encode and decode images.

    Args:
        run: the model.
        images: what to reconstruct.
        noise: standard deviation of Gaussian noise on the encoder's input (then clamped to [0, 1]);
            errors are against the clean images.
        draw: decode one draw of the encoder's law, as the report does, instead of its mean.
        seed: of the noise and the draw.
    """
    generator = make_generator(seed)
    shown, decoded, square, nll = [], [], 0.0, 0.0
    for chunk, labels in images.to(device_of(run.model)).chunks(CHUNK):
        model, x = run.model.given(labels), to_pixels(chunk)
        noisy = x
        if noise:
            noisy = (x + noise * normal(x.shape, generator, x)).clamp(0, 1)
        z = model.encode(noisy)
        if draw:
            z = model.draw(noisy, normal(z.shape, generator, z))
        mean = model.decode(z)
        square += float((mean - x).square().sum(dtype=torch.float64))
        nll += float(model.nll(x, z).sum(dtype=torch.float64))
        shown.append(run.as_images(noisy))
        decoded.append(run.as_images(mean))
    return Reconstructions(
        images.images.cpu(), torch.cat(shown), torch.cat(decoded),
        square / images.images.numel(), nll / len(images),
    )  # fmt: skip


@torch.no_grad()
def latents_of(run: SavedRun, images: ImageSet) -> Latents:
    """Mean latents of images."""
    parts = []
    for chunk, labels in images.to(device_of(run.model)).chunks(CHUNK):
        parts.append(run.model.given(labels).encode(to_pixels(chunk)))
    return Latents(torch.cat(parts).cpu(), images.labels.cpu(), images.class_names)


def find_point(run: SavedRun, text: str, held_out: Callable[[], ImageSet]) -> Tensor:
    """The latent that ``text`` names, ``(d_z,)``.

    ``point:0.5,-1`` is the latent itself, ``image:12`` that of the held-out image 12,
    ``class:7`` the mean over the held-out images of the class 7 (by name).

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
        raise ConfigError(f"'point:{text}' must be {latent_dim} finite numbers, one a latent")
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
        steps: images a side, at least 2.

    Returns:
        rows of images, each ``(steps, c, h, w)``.
    """
    if len(corners) not in (2, 4) or steps < 2:
        raise ConfigError("interpolation is between 2 latents or 4, in at least 2 steps")
    along = torch.linspace(0, 1, steps)[:, None]
    left, right = corners[:: len(corners) // 2], corners[1 :: len(corners) // 2]
    if len(corners) == 2:
        left, right = [corners[0]], [corners[1]]
    edges = [a + along * (b - a) for a, b in zip(left, right, strict=True)]
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
    """Images while one latent at a time varies around ``centre`` by ``+-spans``.

    Args:
        run: the model.
        centre: ``(d_z,)``.
        spans: how far each dimension goes to either side, ``(d_z,)``.
        steps: images a dimension.
        dims: which; all when None.

    Returns:
        for every dimension, ``(steps, c, h, w)``.

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
