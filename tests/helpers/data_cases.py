"""Small data sets, how they lie on the disk, and what a refusal of one must be."""

from __future__ import annotations

import contextlib
import io
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lae_fast.data import DataError, Splits


@contextlib.contextmanager
def refused(*fragments: str) -> Iterator[pytest.ExceptionInfo[DataError]]:
    """The block raises `DataError`: one printable line that holds every fragment."""
    with pytest.raises(DataError) as caught:
        yield caught
    message = str(caught.value)
    assert message.isprintable(), message
    for fragment in fragments:
        assert fragment in message


def gradient(n: int, *shape: int) -> np.ndarray:
    """Distinct uint8 images, so that a wrong transpose or order shows."""
    return np.random.RandomState(n).randint(0, 256, (n, *shape)).astype(np.uint8)


def whole(splits: Splits) -> torch.Tensor:
    return torch.cat([splits.train.images, splits.validation.images])


def same_images(splits: Splits, expected: np.ndarray) -> bool:
    """Whether training and validation images together are ``expected`` (n, c, h, w)."""
    found = {row.numpy().tobytes() for row in whole(splits)}
    wanted = {np.ascontiguousarray(row).tobytes() for row in expected}
    return len(whole(splits)) == len(expected) and found == wanted


def idx_bytes(array: np.ndarray) -> bytes:
    return (
        bytes((0, 0, 8, array.ndim))
        + struct.pack(f">{array.ndim}I", *array.shape)
        + (array.tobytes())
    )


IDX = {
    "train-images-idx3-ubyte": idx_bytes(gradient(20, 5, 4)),
    "train-labels-idx1-ubyte": idx_bytes(np.arange(20, dtype=np.uint8) % 10),
    "t10k-images-idx3-ubyte": idx_bytes(gradient(6, 5, 4)),
    "t10k-labels-idx1-ubyte": idx_bytes(np.arange(6, dtype=np.uint8)),
}


def write_idx(root: Path, changes: dict[str, bytes] | None = None, folder: str = "MNIST") -> Path:
    raw = root / folder / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    for name, content in (IDX | (changes or {})).items():
        (raw / name).write_bytes(content)
    return raw


def npy_bytes(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def png_bytes(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, "PNG")
    return stream.getvalue()
