"""Images from .npy and .npz files, whose headers are checked before they are believed."""

from __future__ import annotations

import io
import math
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lae_fast.data.sets import (
    DEFLATE_LIMIT,
    ImageSet,
    Reader,
    index_labels,
    no_labels,
    read_exactly,
    show,
)
from lae_fast.errors import DataError, RunError, one_line, reason
from lae_fast.runs.files import replace_file

Array = npt.NDArray[Any]

_IMAGE_KEYS = ("images", "x", "X", "data", "arr_0")
_LABEL_KEYS = ("labels", "y", "Y")
_CHANNELS = (1, 3)
# NumPy refuses headers over 10,000 characters, but only after reading them whole.
_HEADER_LIMIT = 1 << 14
CONVERT_PIXELS = 1 << 22
"""Pixels of a float array that are converted at once: the copy takes four bytes for each."""


def read(path: Path) -> ImageSet:
    """The images of a .npy or .npz file, and its labels if it has any.

    Images are uint8, boolean, or floats in [0, 1], of shape (n, h, w), (n, c, h, w) or
    (n, h, w, c) with 1 or 3 channels; if both readings fit, channels come first. An .npz holds
    them as ``images``, ``x``, ``data`` or its only array, and labels (integers or text, (n,)) as
    ``labels`` or ``y``. Pickled objects are never loaded.

    Raises:
        DataError: the file holds anything else, or is truncated or corrupt.
    """
    source = show(path)
    if path.suffix.lower() == ".npy":
        with path.open("rb") as stream:
            images, labels = _read_array(stream, path.stat().st_size, source), None
    else:
        images, labels = _read_npz(path, source)
    return from_array(images, labels, source=source)


def from_array(images: Any, labels: Any = None, *, source: str = "the array") -> ImageSet:
    """Images that are in memory already, in the types and shapes of `read`; floats are rounded.

    Args:
        images: an array or tensor.
        labels: integers or text, ``(n,)``.
        source: what a message calls them.

    Raises:
        DataError: they are anything else.
    """
    pixels = _to_tensor(_as_array(images), source)
    if labels is None:
        return ImageSet(pixels, no_labels(len(pixels)), ())
    return ImageSet(pixels, *_to_labels(_as_array(labels), len(pixels), source))


def _as_array(values: Any) -> Array:
    if isinstance(values, Tensor):
        values = values.detach().cpu()
    return np.asarray(values)


def write(path: Path, images: ImageSet) -> None:
    """Write images as an .npz file that `read` reads, whole or not at all.

    Raises:
        RunError: it cannot be written.
    """
    names = np.array(images.class_names)
    labels = {"labels": names[images.labels.numpy()]} if images.class_names else {}
    content = io.BytesIO()
    np.savez(content, images=images.images.numpy(), **labels)
    try:
        replace_file(path, content.getvalue())
    except OSError as error:
        raise RunError(f"cannot write {path}: {reason(error)}") from error


def _read_npz(path: Path, source: str) -> tuple[Array, Array | None]:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = {
                entry.filename.removesuffix(".npy"): entry
                for entry in archive.infolist()
                if entry.filename.endswith(".npy")
            }
            label_key = next((key for key in _LABEL_KEYS if key in entries), None)
            image_key = _image_key([key for key in entries if key != label_key], source)
            images = read_entry(archive, entries[image_key], path, source)
            if label_key is None:
                return images, None
            return images, read_entry(archive, entries[label_key], path, source)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
        raise DataError(
            f"{source} is not a readable .npz archive ({one_line(error)}); "
            "save it again with numpy.savez"
        ) from error


def _image_key(keys: list[str], source: str) -> str:
    for key in _IMAGE_KEYS:
        if key in keys:
            return key
    if len(keys) == 1:
        return keys[0]
    raise DataError(
        f"{source} has no array called 'images' (it holds {one_line(', '.join(keys)) or 'none'}); "
        "save it with numpy.savez(file, images=..., labels=...)"
    )


def read_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, path: Path, source: str) -> Array:
    """One array of an archive, if the sizes that the archive declares are possible.

    Args:
        archive: the file, open.
        entry: which array.
        path: of the file.
        source: what a message calls it.

    Raises:
        DataError: they are not, or it is no array.
    """
    packed, size = entry.compress_size, entry.file_size
    known = entry.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
    if not known or packed > path.stat().st_size or size > DEFLATE_LIMIT * packed:
        raise DataError(
            f"{source}: '{one_line(entry.filename)}' declares {size} bytes, which {packed} "
            "compressed bytes cannot hold; save it again with numpy.savez"
        )
    with archive.open(entry) as stream:
        return _read_array(stream, size, f"{source}: {one_line(entry.filename)}")


def _read_array(stream: Reader, size: int, source: str) -> Array:
    """An array in .npy format, from a file of ``size`` bytes."""
    head = stream.read(min(size, _HEADER_LIMIT))
    shape, fortran, dtype, offset = _parse_header(head, source)
    nbytes = math.prod(shape) * dtype.itemsize
    if nbytes != size - offset:
        raise DataError(
            f"{source} is truncated or corrupt: its header declares {nbytes} bytes of data and "
            f"{size - offset} follow; save it again"
        )
    flat = read_exactly(stream, (nbytes,), source, begun=head[offset:]).view(dtype)
    return flat.reshape(shape[::-1]).T if fortran else flat.reshape(shape)


def _parse_header(head: bytes, source: str) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    """Shape, whether it is column-major, type, and where the data begin."""
    stream = io.BytesIO(head)
    try:
        version = np.lib.format.read_magic(stream)
        parse = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, fortran, dtype = parse(stream)
    except Exception as error:  # numpy evaluates the header as a literal, which may raise anything
        raise DataError(
            f"{source} is not in NumPy's .npy format ({one_line(error, 100)}); "
            "save it with numpy.save"
        ) from error
    if dtype.kind not in "uifbUS" or dtype.itemsize == 0:
        raise DataError(f"{source} holds {one_line(dtype, 60)}; save numbers (or text for labels)")
    if any(isinstance(size, bool) or size < 0 for size in shape):
        raise DataError(f"{source} declares the impossible shape {shape}; save it again")
    return shape, fortran, dtype, stream.tell()


def _to_tensor(images: Array, source: str) -> Tensor:
    """Bytes ``(n, c, h, w)`` from any accepted type and layout."""
    layout = _channels_first(images, source)
    if layout.size == 0:
        raise DataError(f"{source} holds no pixels (shape {images.shape}); give at least 2 images")
    return torch.from_numpy(np.ascontiguousarray(_to_bytes(layout, source)))


def _channels_first(images: Array, source: str) -> Array:
    if images.ndim == 3:
        return images[:, None]
    if images.ndim == 4 and images.shape[1] in _CHANNELS:
        return images
    if images.ndim == 4 and images.shape[3] in _CHANNELS:
        return images.transpose(0, 3, 1, 2)
    raise DataError(
        f"{source} has shape {images.shape}; reshape it to (n, h, w), (n, c, h, w) or "
        "(n, h, w, c) with 1 or 3 channels"
    )


def _to_bytes(images: Array, source: str) -> npt.NDArray[np.uint8]:
    if images.dtype == np.uint8:
        return images
    if images.dtype.kind == "b":
        return images.astype(np.uint8) * np.uint8(255)
    if images.dtype.kind != "f":
        raise DataError(
            f"{source} holds {images.dtype}; save images as uint8, or as floats in [0, 1]"
        )
    # In blocks: a float32 copy of all images would take four times the memory of the result.
    block = max(1, CONVERT_PIXELS // math.prod(images.shape[1:]))
    result = np.empty(images.shape, dtype=np.uint8)
    for start in range(0, len(images), block):
        with np.errstate(over="ignore"):
            part = images[start : start + block].astype(np.float32)
        if np.isnan(part).any():
            raise DataError(
                f"{source} holds NaN; replace it by numbers in [0, 1], such as with "
                "numpy.nan_to_num"
            )
        if np.isinf(images[start : start + block]).any():
            raise DataError(
                f"{source} holds infinite numbers; replace them by numbers in [0, 1], such as with "
                "numpy.clip"
            )
        low, high = images[start : start + block].min(), images[start : start + block].max()
        if not 0 <= low <= high <= 1:
            raise DataError(
                f"{source} holds floats from {low} to {high}; scale them to [0, 1], "
                "or save them as uint8"
            )
        result[start : start + block] = np.rint(part * 255)
    return result


def _to_labels(labels: Array, n: int, source: str) -> tuple[Tensor, tuple[str, ...]]:
    if labels.size != n or labels.shape[:1] != (n,):
        raise DataError(
            f"{source} has {n} images but labels of shape {labels.shape}; give one label per image"
        )
    if labels.dtype.kind == "f":
        raise DataError(f"{source} has labels of type {labels.dtype}; save integers or text")
    try:
        return index_labels(labels)
    except (ValueError, OverflowError) as error:  # text that is not Unicode
        raise DataError(
            f"{source} has unreadable labels ({one_line(error)}); save them again"
        ) from error
