"""Where tensors are computed: the device a user chose, and what belongs on it.

Models are moved when they are built or opened. Whatever uses a model computes where its weights
are (`device_of`), so no function needs to be told the device a second time.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import torch
from torch import Tensor, nn

from lae_fast.errors import ConfigError
from lae_fast.ops.loader import prepare_gpu


def named_device(name: str) -> torch.device:
    """The device that a setting of `lae_fast.config.DEVICES` names; ``auto`` prefers CUDA.

    Raises:
        ConfigError: CUDA was asked for and is not there.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("no CUDA device is available; use --device cpu, or see `lae doctor`")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def pick_device(name: str) -> torch.device:
    """The device to compute on, by its name as in `named_device`.

    A GPU that none of the built kernels fits runs the operators' references from then on.
    """
    device = named_device(name)
    if device.type == "cuda":
        prepare_gpu(torch.cuda.current_device() if device.index is None else device.index)
    return device


def device_of(model: nn.Module) -> torch.device:
    """The device of a model's weights; the CPU for a model that has none."""
    weights = next(chain(model.parameters(), model.buffers()), None)
    return torch.device("cpu") if weights is None else weights.device


def normal(shape: Sequence[int], generator: torch.Generator, like: Tensor) -> Tensor:
    """Standard normal draws of ``shape``, with the dtype and on the device of ``like``.

    Args:
        shape: of the result.
        generator: on the CPU, so that a seed gives the same draws on every device.
        like: says which dtype and device.
    """
    return torch.randn(shape, generator=generator, dtype=like.dtype).to(like.device)


def uniform(shape: Sequence[int], generator: torch.Generator, like: Tensor) -> Tensor:
    """Draws from [0, 1) of ``shape``, as `normal` gives normal ones."""
    return torch.rand(shape, generator=generator, dtype=like.dtype).to(like.device)
