"""MNIST's IDX files, checked against their own headers.

torchvision does not check a raw file that is already there, although its download may have been
cut short. Format: big-endian magic number, then the sizes, then bytes
(http://yann.lecun.com/exdb/mnist).
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from lae_fast.data.sets import DEFLATE_LIMIT, ImageSet, Reader, read_exactly, show
from lae_fast.errors import DataError

_NAMES = ("{}-images-idx3-ubyte", "{}-labels-idx1-ubyte")
_PARTS = ("train", "t10k")
_UNSIGNED_BYTE = 0x08


def missing(raw: Path, parts: tuple[str, ...] = _PARTS) -> list[str]:
    """Names of those files of ``parts`` that are not in ``raw``, neither plain nor gzipped."""
    names = [name.format(part) for part in parts for name in _NAMES]
    return [name for name in names if _locate(raw, name) is None]


def read(raw: Path, part: str, class_names: tuple[str, ...]) -> ImageSet:
    """The ``train`` or ``t10k`` images and labels in the folder ``raw``.

    Raises:
        DataError: a file is missing, truncated, too long or not IDX, or the labels do not fit the
            images.
    """
    image_path, label_path = (_require(raw, name.format(part)) for name in _NAMES)
    images = _read_file(image_path, dimensions=3)
    labels = _read_file(label_path, dimensions=1)
    if images.size == 0:
        raise DataError(f"{show(image_path)} holds no images; {_remedy(image_path)}")
    if len(images) != len(labels):
        raise DataError(
            f"{show(image_path)} holds {len(images)} images but {show(label_path)} holds "
            f"{len(labels)} labels; delete both and download again"
        )
    if (largest := int(labels.max())) >= len(class_names):
        raise DataError(
            f"{show(label_path)} holds a label {largest} but there are only "
            f"{len(class_names)} classes; {_remedy(label_path)}"
        )
    return ImageSet(
        torch.from_numpy(images)[:, None],
        torch.from_numpy(labels.astype(np.int64)),
        class_names,
    )


def _locate(raw: Path, name: str) -> Path | None:
    return next((path for path in (raw / name, raw / f"{name}.gz") if path.is_file()), None)


def _require(raw: Path, name: str) -> Path:
    path = _locate(raw, name)
    if path is None:
        raise DataError(f"{show(raw / name)} is not there; put it there or download it")
    return path


def _read_file(path: Path, dimensions: int) -> npt.NDArray[np.uint8]:
    zipped = path.suffix == ".gz"
    # A gzipped file does not say its true size; deflate's best ratio bounds it.
    limit = path.stat().st_size * (DEFLATE_LIMIT if zipped else 1)
    try:
        with gzip.open(path) if zipped else path.open("rb") as stream:
            shape = _read_header(stream, dimensions, path)
            if math.prod(shape) > limit:
                raise DataError(f"{show(path)} is truncated or corrupt; {_remedy(path)}")
            return read_exactly(stream, shape, show(path))
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{show(path)} is truncated or corrupt; {_remedy(path)}") from error


def _read_header(stream: Reader, dimensions: int, path: Path) -> tuple[int, ...]:
    header = stream.read(4 + 4 * dimensions)
    if header[:4] != bytes((0, 0, _UNSIGNED_BYTE, dimensions)) or len(header) < 4 + 4 * dimensions:
        raise DataError(
            f"{show(path)} is not an IDX file of bytes with {dimensions} dimension(s); "
            f"{_remedy(path)}"
        )
    return struct.unpack(f">{dimensions}I", header[4:])


def _remedy(path: Path) -> str:
    return f"delete {show(path)} and download again"
