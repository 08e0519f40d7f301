"""The order of an epoch, and a batch as the model reads it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from lae_fast.errors import DataError


def batch_indices(
    n: int,
    batch_size: int,
    *,
    seed: int,
    epoch: int,
    device: torch.device | str = "cpu",
) -> Iterator[Tensor]:
    """The batches of an epoch: a permutation of 0..n-1 that depends on ``(seed, epoch)`` alone.

    A training can therefore be resumed from two integers.

    Args:
        n: number of images, at least 0.
        batch_size: indices per batch, at least 1; the last batch may be shorter.
        seed: in [0, 2^64).
        epoch: in [0, 2^64).
        device: where the batches lie.

    Returns:
        int64 tensors ``(batch_size,)``, views of one permutation.

    Raises:
        DataError: an argument is out of bounds; the call raises it, not the first batch.
    """
    if n < 0 or batch_size < 1:
        raise DataError(f"n must be 0 or more and batch_size at least 1, not {n} and {batch_size}")
    if not (0 <= seed < 2**64 and 0 <= epoch < 2**64):
        raise DataError(f"seed and epoch must be in [0, 2^64), not {seed} and {epoch}")
    if n == 0:
        return iter(())
    # A Philox key is two words, so every (seed, epoch) has a stream of its own without hashing.
    generator = np.random.Generator(np.random.Philox(key=np.array([seed, epoch], dtype=np.uint64)))
    order = torch.from_numpy(generator.permutation(n)).to(device, torch.int64)
    return iter(torch.split(order, batch_size))


def to_pixels(batch: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Bytes ``(n, ...)`` as flat pixels in [0, 1], ``(n, d_x)``."""
    if batch.dtype != torch.uint8 or batch.ndim < 2 or not dtype.is_floating_point:
        raise DataError(
            "to_pixels turns uint8 of shape (n, ...) into a floating type, not "
            f"{batch.dtype} of shape {tuple(batch.shape)} into {dtype}"
        )
    return batch.flatten(1).to(dtype).div_(255)


def binarize(x: Tensor, seed: int, *, first: int = 0, images: int | None = None) -> Tensor:
    """Random black and white pixels, shaped like ``x``, each 1 with probability its grey level.

    Args:
        x: pixels in [0, 1], ``(n, d_x)``.
        seed: of the draws; nothing else determines them.
        first: position of ``x`` in a batch, of which it may be a part.
        images: size of that batch; ``n`` when not given. Images are the same in any part.
    """
    generator = torch.Generator(x.device).manual_seed(seed)
    shape = len(x) if images is None else images, *x.shape[1:]
    drawn = torch.rand(shape, generator=generator, device=x.device)[first : first + len(x)]
    return (drawn < x).to(x.dtype)
