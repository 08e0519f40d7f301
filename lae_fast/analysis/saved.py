"""Models and data sets of run folders."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lae_fast import data
from lae_fast.config import TrainConfig
from lae_fast.config.settings import from_stored
from lae_fast.errors import CheckpointError, reason
from lae_fast.models import Model, own
from lae_fast.models.build import build_model
from lae_fast.models.own import Networks
from lae_fast.ops.devices import device_of, pick_device
from lae_fast.runs import checkpoint
from lae_fast.runs.files import located


@dataclass(frozen=True)
class SavedRun:
    """A run folder's configuration and its model, with fixed weights.

    Attributes:
        path: the run folder.
        config: the run's settings.
        model: in evaluation mode; its parameters require no gradient.
        image_shape: channels, height, width.
        classes: number of classes of the data set; 0 without labels.
        label: the class that a conditional model decodes in `decode`; None decodes all classes in
            rotation, one image after another.
    """

    path: Path
    config: TrainConfig
    model: Model
    image_shape: tuple[int, int, int]
    classes: int = 0
    label: int | None = None

    def as_images(self, pixels: Tensor) -> Tensor:
        """Pixels ``(n, d_x)`` in [0, 1] as bytes ``(n, c, h, w)`` on the CPU."""
        return (pixels * 255).round().to(torch.uint8).view(-1, *self.image_shape).cpu()

    def means(self, z: Tensor) -> Tensor:
        """Mean images of latents ``(n, d_z)`` from any device: ``(n, d_x)``, in [0, 1]."""
        rotation = torch.arange(len(z)) % max(1, self.classes)
        labels = rotation if self.label is None else torch.tensor([self.label])
        return self.model.given(labels).decode(z.to(device_of(self.model)))

    def decode(self, z: Tensor) -> Tensor:
        """Mean images of latents ``(n, d_z)`` from any device, as `as_images` returns them."""
        return self.as_images(self.means(z))


def open_run(
    run: Path,
    name: str = "best",
    device: torch.device | str = "cpu",
    networks: Networks | None = None,
) -> SavedRun:
    """A run's configuration, and its model with the weights of a checkpoint.

    Args:
        run: the run folder.
        name: ``best`` or ``last``.
        device: where to put the weights; whatever uses the model computes there.
        networks: for a run that trains networks of the user's, instead of the folder's copy; they
            receive the weights.

    Raises:
        CheckpointError: the run has no such checkpoint, or it does not fit its configuration.
        ConfigError: no such device, or networks for a run that has the library's.
    """
    tensors, about = checkpoint.read(run, name)
    try:
        config = from_stored(located(run, about["config"]))
        shape, classes = _image_shape(tensors, about), about.get("classes", 0)
        if config.architecture == "own" and networks is None:
            networks = own.load(run, shape, config.latent_dim)
        model = _filled(config, tensors, shape, classes, networks)
    except CheckpointError:
        raise
    except _MISFITS as error:
        raise CheckpointError(
            f"the '{name}' checkpoint of {run} does not fit its configuration: "
            + reason(error).partition("\n")[0]
        ) from error
    model = model.eval().requires_grad_(False).to(pick_device(str(device)))
    return SavedRun(run, config, model, shape, classes)


def held_out_images(config: TrainConfig, data_dir: str | None = None) -> data.ImageSet:
    """Held-out images and labels of a configuration, in a fixed shuffled order.

    The test set, or the validation split of a data set without one; binarised if training was.

    Args:
        config: the run's settings.
        data_dir: folder of the data set, if it has moved since the training.

    Raises:
        DataError: the data set cannot be read.
    """
    splits = load_splits(config, data_dir)
    images = splits.test or splits.validation
    if config.binarize:
        images = images.binarized()
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    return images.subset(order)


def load_splits(config: TrainConfig, data_dir: str | None = None) -> data.Splits:
    """The data set of a configuration, split as in its training.

    Arguments and errors are those of `held_out_images`.
    """
    return data.load(
        config.dataset,
        data_dir or config.data_dir,
        download=config.download,
        validation=config.validation,
        validation_fraction=config.validation_fraction,
        image_size=config.image_size,
    )


_MISFITS = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RuntimeError)


def _filled(
    config: TrainConfig,
    tensors: dict[str, Tensor],
    shape: tuple[int, int, int],
    classes: int,
    networks: Networks | None,
) -> Model:
    """The model of a configuration with these weights; allocates nothing else.

    A broken description that claims a width of a billion must not cost any memory.
    """
    deep = config.architecture == "mlp" and config.depth > len(tensors)
    if deep or classes < 0 or min(shape) < 1:
        raise ValueError(f"depth {config.depth}, {classes} classes, images of shape {shape}")
    with torch.device("meta"):
        model = build_model(config, shape, classes, networks)
    for name, like in model.state_dict().items():
        if name in tensors and tensors[name].dtype != like.dtype:
            raise ValueError(f"{name} is {tensors[name].dtype}")
    model.load_state_dict(tensors, assign=True)
    return model


def _image_shape(tensors: dict[str, Tensor], about: dict[str, Any]) -> tuple[int, int, int]:
    """Channels, height, width. Old checkpoints do not say; they are of square images."""
    if "image_shape" in about:
        channels, height, width = map(int, about["image_shape"])
        return channels, height, width
    image_dim = tensors["encoder.blocks.0.linear.weight"].shape[1]
    for channels in (1, 3):
        side = math.isqrt(image_dim // channels)
        if channels * side * side == image_dim:
            return channels, side, side
    return 1, 1, image_dim
