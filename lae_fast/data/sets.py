"""What every source of images returns (`ImageSet`), and the limits and checks they share."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lae_fast.errors import DataError, printable

DEFLATE_LIMIT = 1032
"""Deflate's best ratio: a file that claims to hold more is corrupt."""

_SPLIT_SEED = 20220707
_READ_CHUNK = 1 << 24


class Reader(Protocol):
    """A file, a gzipped file, or an archive's entry."""

    def read(self, size: int, /) -> bytes:
        """At most ``size`` bytes; none at the end."""
        ...


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images of one size, held as bytes.

    Attributes:
        images: uint8 ``(n, c, h, w)``, contiguous.
        labels: int64 ``(n,)``, indices into ``class_names``; all zero without labels.
        class_names: one name per class; empty without labels.
    """

    images: Tensor
    labels: Tensor
    class_names: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.images.dtype != torch.uint8 or self.images.ndim != 4:
            raise DataError(
                "images must be uint8 of shape (n, c, h, w), not "
                f"{self.images.dtype} of shape {tuple(self.images.shape)}"
            )
        if self.labels.dtype != torch.int64 or self.labels.shape != self.images.shape[:1]:
            raise DataError(
                f"labels must be int64 of shape ({len(self.images)},), one per image, not "
                f"{self.labels.dtype} of shape {tuple(self.labels.shape)}"
            )

    def __len__(self) -> int:
        return len(self.images)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        _, channels, height, width = self.images.shape
        return channels, height, width

    def to(self, device: torch.device | str) -> ImageSet:
        """The same set with images and labels on ``device``."""
        return ImageSet(self.images.to(device), self.labels.to(device), self.class_names)

    def subset(self, index: Tensor) -> ImageSet:
        """A copy of the images at ``index`` (int64 positions or a boolean mask)."""
        return ImageSet(self.images[index], self.labels[index], self.class_names)

    def first(self, count: int) -> ImageSet:
        """The first ``count`` images, or all if there are fewer."""
        return self.subset(torch.arange(min(count, len(self))))

    def chunks(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Images and labels, ``size`` at a time."""
        return zip(torch.split(self.images, size), torch.split(self.labels, size), strict=True)

    def binarized(self, seed: int = 0) -> ImageSet:
        """The set with every pixel drawn black or white, white with probability its grey level.

        The CPU draws, so that every device validates on the same images.
        """
        generator = torch.Generator().manual_seed(seed)
        draws = torch.randint(0, 255, self.images.shape, generator=generator, dtype=torch.uint8)
        white = draws.to(self.images.device) < self.images
        return ImageSet(white.to(torch.uint8) * 255, self.labels, self.class_names)


@dataclass(frozen=True, eq=False)
class Splits:
    """A data set ready for training.

    When training validates on the test set, ``validation`` is ``test``.
    """

    name: str
    train: ImageSet
    validation: ImageSet
    test: ImageSet | None


def fixed_split(n: int, fraction: float) -> tuple[Tensor, Tensor]:
    """Positions to keep and positions to hold out, int64, ascending, at least one of each.

    They depend on ``n`` and ``fraction`` alone. NumPy guarantees that `RandomState`'s streams never
    change, so every version of NumPy and torch gives the same split.

    Raises:
        DataError: fewer than 2 images.
    """
    if n < 2:
        raise DataError(
            f"there are too few images ({n}) for training and validation; give at least 2"
        )
    order = np.random.RandomState(_SPLIT_SEED).permutation(n)
    count = min(max(1, round(n * fraction)), n - 1)
    held_out, kept = np.sort(order[:count]), np.sort(order[count:])
    return torch.from_numpy(kept.astype(np.int64)), torch.from_numpy(held_out.astype(np.int64))


def index_labels(values: npt.NDArray[np.generic]) -> tuple[Tensor, tuple[str, ...]]:
    """Labels 0..k-1, int64 ``(n,)``, and their k names, in sorted order of the values."""
    names, labels = np.unique(values, return_inverse=True)
    texts = (v.decode(errors="replace") if isinstance(v, bytes) else str(v) for v in names.tolist())
    flat = np.ascontiguousarray(labels.reshape(-1), dtype=np.int64)
    return torch.from_numpy(flat), tuple(printable(text) for text in texts)


def no_labels(n: int) -> Tensor:
    """The labels of a set without labels: zeros, int64 ``(n,)``."""
    return torch.zeros(n, dtype=torch.int64)


def show(path: Path) -> str:
    """A path for a message: on one line, but with its white space."""
    return printable(str(path))


def refuse_oversized(nbytes: int, source: str) -> None:
    """Raise `DataError` for an array that this machine could never hold."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if nbytes > memory:
        raise DataError(
            f"{source} declares {nbytes / 2**30:,.1f} GiB and this machine has "
            f"{memory / 2**30:,.1f} GiB of memory; use fewer or smaller images"
        )


def read_exactly(
    stream: Reader, shape: tuple[int, ...], source: str, *, begun: bytes = b""
) -> npt.NDArray[np.uint8]:
    """A uint8 array of ``shape`` from a stream, of which ``begun`` has already been read.

    Raises:
        DataError: the stream ends early or continues after the last byte, or the array is larger
            than this machine's memory.
    """
    nbytes = math.prod(shape)
    refuse_oversized(nbytes, source)
    flat = np.empty(nbytes, dtype=np.uint8)
    flat[: len(begun)] = np.frombuffer(begun[:nbytes], dtype=np.uint8)
    done = min(len(begun), nbytes)
    while done < nbytes and (block := stream.read(min(_READ_CHUNK, nbytes - done))):
        flat[done : done + len(block)] = np.frombuffer(block, dtype=np.uint8)
        done += len(block)
    if done < nbytes:
        raise DataError(f"{source} is truncated: {done} of {nbytes} bytes of data; replace it")
    if len(begun) > nbytes or stream.read(1):
        raise DataError(f"{source} holds more data than its header declares; replace it")
    return flat.reshape(shape)
