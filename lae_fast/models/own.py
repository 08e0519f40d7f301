"""A user's own networks: fitted into the models, checked, and kept in run folders."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from lae_fast.errors import CheckpointError, ConfigError, UntraceableError, reason
from lae_fast.models.conv import Shape
from lae_fast.models.graphs import MOST_VALUES, Graph, encode
from lae_fast.runs import checkpoint

CHECKPOINT = "networks"
"""Under this name a run folder carries what `save` writes."""
_EXAMPLES = 3
"""Rows that networks are tried on."""
_REST = 1 << 10
"""Bytes of a checkpoint's description beside the networks, at most."""
_BROKEN = (
    *(LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RuntimeError),
    MemoryError,
)


class Networks(NamedTuple):
    """An encoder and a decoder of the user's.

    Attributes:
        encoder: maps images ``(n, c, h, w)`` in [0, 1] to features ``(n, d_h)``; for the models
            that have no phi, to mu and log sigma ``(n, 2 d_z)``.
        decoder: maps latents ``(n, d_z)`` to the likelihood's parameters, ``(n, c, h, w)`` or flat.
    """

    encoder: nn.Module
    decoder: nn.Module


class OwnEncoder(nn.Module):
    """An encoder of images ``(n, c, h, w)``, on flat images ``(n, d_x)``."""

    def __init__(self, network: nn.Module, image_shape: Shape) -> None:
        super().__init__()
        self.network, self.image_shape = network, image_shape

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(n, d_x)`` to features."""
        result: Tensor = self.network(x.reshape(-1, *self.image_shape))
        return result


class OwnDecoder(nn.Module):
    """A decoder into images, whose result is flattened to ``(n, d_x)``."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, z: Tensor) -> Tensor:
        """Map ``(n, d_z)`` to ``(n, d_x)``."""
        result: Tensor = self.network(z)
        return result.flatten(1)


def feature_dim(networks: Networks, shape: Shape, latent_dim: int, *, has_phi: bool) -> int:
    """The width of the encoder's result, once both networks are known to suit the images.

    Args:
        networks: encoder and decoder.
        shape: of an image: channels, height, width.
        latent_dim: d_z.
        has_phi: whether the encoder gives features of any width, or mu and log sigma.

    Raises:
        ConfigError: one of them cannot be trained on these images; the message says what to change.
    """
    encoder, decoder = networks
    _require_own_weights(networks)
    x, z = _examples(shape, latent_dim)
    encoded = _tried("encoder", encoder, x)
    if encoded.ndim != 2:
        raise ConfigError(
            f"the encoder returns {_shape(encoded)} for images {_shape(x)}; return one row of "
            "features per image, such as with nn.Flatten() as its last layer"
        )
    width = encoded.shape[1]
    if not has_phi and width != 2 * latent_dim:
        raise ConfigError(
            f"the encoder returns {width} numbers per image; this model needs {2 * latent_dim}: "
            f"mean and log standard deviation of {latent_dim} latents"
        )
    decoded = _tried("decoder", decoder, z)
    if decoded.numel() != x.numel():
        raise ConfigError(
            f"the decoder returns {_shape(decoded)} for latents {_shape(z)}; return images "
            f"{_shape(x)}"
        )
    return width


def _examples(shape: Shape, latent_dim: int) -> tuple[Tensor, Tensor]:
    """Images and latents to try networks on; the caller's random numbers stay as they are."""
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(_EXAMPLES, *shape, generator=generator)
    return x, torch.randn(_EXAMPLES, latent_dim, generator=generator)


def _tried(what: str, network: nn.Module, x: Tensor) -> Tensor:
    """The network's result, which must be that of each row alone, every time."""
    hint = "; give latent_dim=... as wide as its input" if what == "decoder" else ""
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        try:
            result, again, few = network(x), network(x), network(x[:2])
        except Exception as error:  # whatever a user's network does
            why = reason(error).partition("\n")[0]
            raise ConfigError(f"the {what} fails on an input {_shape(x)}: {why}{hint}") from error
    if not isinstance(result, Tensor) or result.shape[:1] != x.shape[:1]:
        raise ConfigError(f"the {what} must return one tensor with one row per row of its input")
    if not bool(result.isfinite().all()):
        raise ConfigError(f"the {what} returns numbers that are not finite; look at its weights")
    if not torch.equal(result, again):
        raise ConfigError(
            f"the {what} returns something else each time it is called; take out dropout, and "
            "whatever else draws or counts: the chain needs one potential"
        )
    if not torch.allclose(result[:2], few, rtol=1e-3, atol=1e-4):
        raise ConfigError(
            f"what the {what} returns for one row depends on the others; normalise each image "
            "alone, such as with nn.GroupNorm(1, channels) in place of nn.BatchNorm2d"
        )
    return result


def _require_own_weights(networks: Networks) -> None:
    """Weights in float32, each in one place: averages and checkpoints go by names."""
    seen: dict[int, str] = {}
    for what, network in zip(Networks._fields, networks, strict=True):
        if next(network.parameters(), None) is None:
            raise ConfigError(f"the {what} has no parameters to train")
        for name, value in network.state_dict(keep_vars=True).items():
            if isinstance(value, nn.Parameter) and value.dtype != torch.float32:
                raise ConfigError(f"{what}.{name} is {value.dtype}; call .float() on the {what}")
            if value.numel() and (twin := seen.setdefault(value.data_ptr(), f"{what}.{name}")) != (
                f"{what}.{name}"
            ):
                raise ConfigError(f"{twin} and {what}.{name} share their weights; make two of them")


def _shape(x: Tensor) -> str:
    return f"({', '.join(map(str, ('n', *x.shape[1:])))})"


def save(run: Path, networks: Networks, image_shape: Shape, latent_dim: int) -> None:
    """Keep both networks, with their weights as they are now, in a run folder.

    Raises:
        UntraceableError: one of them depends on the values of its input, calls what `Graph` does
            not, or is too long; the message says which and why.
    """
    examples = _examples(image_shape, latent_dim)
    tensors: dict[str, Tensor] = {}
    about: dict[str, str] = {}
    for what, network, example in zip(Networks._fields, networks, examples, strict=True):
        try:
            with torch.random.fork_rng(devices=[]):
                steps, held = encode(network, example)
        except UntraceableError as error:
            raise UntraceableError(f"the {what}: {error}") from error
        about[what] = json.dumps(steps)
        tensors |= {f"{what}/{name}": value for name, value in held.items()}
    if len(json.dumps(about, indent=2)) > checkpoint.LARGEST_DESCRIPTION - _REST:
        raise UntraceableError("they call too many operators")
    checkpoint.write(run, CHECKPOINT, tensors, about)


def load(run: Path, image_shape: Shape, latent_dim: int) -> Networks:
    """The networks that `save` kept.

    Raises:
        CheckpointError: the folder has none, or they do not suit images and latents.
    """
    try:
        tensors, about = checkpoint.read(run, CHECKPOINT)
    except CheckpointError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            raise CheckpointError(
                f"{run} trains networks that its folder could not keep; use it from Python: "
                f"lae_fast.load('{run}', encoder=..., decoder=...)"
            ) from error
        raise
    graphs = []
    try:
        pixels = 2 * math.prod(image_shape)
        sizes = [*image_shape, latent_dim]
        if min(sizes) < 1 or max(pixels, latent_dim) > MOST_VALUES:
            raise ValueError(f"there are no images {image_shape} with {latent_dim} latents")
        inputs = torch.zeros(2, *image_shape), torch.zeros(2, latent_dim)
        for what, x in zip(Networks._fields, inputs, strict=True):
            prefix = f"{what}/"
            held = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
            graph = Graph(json.loads(about[what]), held)
            with torch.no_grad():
                graph.check(x)
                result = graph(x)
            if len(result) != 2 or (what == "decoder" and result.numel() != pixels):
                raise ValueError(f"the {what} does not suit images {image_shape}")
            graphs.append(graph)
    except (*_BROKEN, RecursionError) as error:
        why = reason(error).partition("\n")[0]
        raise CheckpointError(f"the networks of {run} cannot be rebuilt: {why}") from error
    return Networks(*graphs)
