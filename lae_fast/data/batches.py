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
    drop_last: bool = False,
    device: torch.device | str = "cpu",
) -> Iterator[Tensor]:
    """Batches of a permutation of 0..n-1 that is a function of ``(seed, epoch)`` alone.

    Resuming therefore needs two integers. Each index occurs exactly once an epoch; the last
    batch is short, or left out with ``drop_last`` (no batch at all when n < batch_size).

    Args:
        n: images, at least 0.
        batch_size: indices a batch, at least 1.
        seed: in [0, 2^64).
        epoch: in [0, 2^64).
        drop_last: leave out a last batch shorter than ``batch_size``.
        device: where the batches lie; copied there once an epoch.

    Returns:
        int64 tensors, (batch_size,), views of one permutation.

    Raises:
        DataError: an argument out of bounds, on the call rather than on the first batch.
    """
    if n < 0 or batch_size < 1:
        raise DataError(f"n must be 0 or more and batch_size at least 1, not {n} and {batch_size}")
    if not (0 <= seed < 2**64 and 0 <= epoch < 2**64):
        raise DataError(f"seed and epoch must be in [0, 2^64), not {seed} and {epoch}")
    used = n - n % batch_size if drop_last else n
    if used == 0:
        return iter(())
    # A Philox key is two words: every (seed, epoch) has a stream of its own, without hashing.
    generator = np.random.Generator(np.random.Philox(key=np.array([seed, epoch], dtype=np.uint64)))
    order = torch.from_numpy(generator.permutation(n)[:used]).to(device, torch.int64)
    return iter(torch.split(order, batch_size))


def to_pixels(batch: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Bytes (n, ...), uint8, as flattened pixels in [0, 1]: (n, product of the rest)."""
    if batch.dtype != torch.uint8 or batch.ndim < 2 or not dtype.is_floating_point:
        raise DataError(
            "to_pixels turns uint8 of shape (n, ...) into a floating type, not "
            f"{batch.dtype} of shape {tuple(batch.shape)} into {dtype}"
        )
    return batch.flatten(1).to(dtype).div_(255)


def binarize(x: Tensor, seed: int, *, first: int = 0, images: int | None = None) -> Tensor:
    """Each pixel 1 with probability its grey level, else 0: like ``x``, a function of ``seed``.

    Where ``x`` is a part of a batch of ``images``, from image ``first`` on, it becomes what it
    would be in the whole.
    """
    generator = torch.Generator(x.device).manual_seed(seed)
    shape = len(x) if images is None else images, *x.shape[1:]
    drawn = torch.rand(shape, generator=generator, device=x.device)[first : first + len(x)]
    return (drawn < x).to(x.dtype)
