"""Images from a folder of files, whose subfolders are the classes."""

from __future__ import annotations

import math
import os
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from lae_fast.data.sets import ImageSet, index_labels, no_labels, refuse_oversized, show
from lae_fast.errors import DataError, one_line, printable

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")

_FORMATS = ("PNG", "JPEG", "BMP", "WEBP")
_GREY = ("1", "L", "LA", "La")
_DEEP = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")


def read(root: Path) -> ImageSet:
    """Every image under ``root``, in order of path.

    Images lie directly in ``root``, without labels, or at any depth in its subfolders, one per
    class. Names that begin with a dot and files of other kinds are ignored. Links to files and to
    class folders are followed; links to folders further down are not. The images are grey if every
    file is, else colour; transparency is dropped.

    Raises:
        DataError: there are no images or images of several sizes, or one is corrupt or has more
            than 8 bits per channel; the message names the first such file.
    """
    files, classes = _find(root)
    width, height, grey = _survey(files)
    channels = 1 if grey else 3
    shape = (len(files), channels, height, width)
    refuse_oversized(math.prod(shape), show(root))
    images = np.empty(shape, dtype=np.uint8)
    for row, path in zip(images, files, strict=True):
        row[:] = _decode(path, grey).reshape(height, width, channels).transpose(2, 0, 1)
    pixels = torch.from_numpy(images)
    if not classes:
        return ImageSet(pixels, no_labels(len(files)), ())
    return ImageSet(pixels, *index_labels(np.array(classes)))


def _find(root: Path) -> tuple[list[Path], list[str]]:
    """Image files in order, and the class of each; no classes if they lie in ``root``."""
    direct = sorted(path for path in _visible(root) if _is_image(path))
    files: list[Path] = []
    classes: list[str] = []
    for folder in sorted(path for path in _visible(root) if path.is_dir()):
        if folder.is_symlink() and folder.resolve() in (root.resolve(), *root.resolve().parents):
            continue  # a link back up would list every file twice
        inside = _walk(folder)
        files += inside
        classes += [printable(folder.name)] * len(inside)
    if direct and files:
        raise DataError(
            f"{show(root)} holds images both directly and in subfolders; "
            "put each into the subfolder of its class"
        )
    if not direct and not files:
        raise DataError(f"{show(root)} holds no images; put {', '.join(SUFFIXES)} files there")
    return direct or files, classes


def _visible(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if not path.name.startswith(".")]


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not path.is_dir()


def _walk(folder: Path) -> list[Path]:
    """Image files under ``folder``, sorted; links to folders below it are not followed."""
    found: list[Path] = []
    for place, subfolders, names in os.walk(folder, onerror=_raise):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        found += [Path(place, name) for name in names if not name.startswith(".")]
    return sorted(path for path in found if _is_image(path))


def _raise(error: OSError) -> None:
    raise error


def _survey(files: list[Path]) -> tuple[int, int, bool]:
    """Width and height of all images, and whether all are grey, from their headers."""
    found = [_inspect(path) for path in files]
    usual, _ = Counter(size for size, _ in found).most_common(1)[0]
    for path, (size, _) in zip(files, found, strict=True):
        if size != usual:
            raise DataError(
                f"{show(path)} is {size[0]}x{size[1]} but most images are {usual[0]}x{usual[1]}; "
                "resize it or take it out"
            )
    return *usual, all(mode in _GREY for _, mode in found)


def _inspect(path: Path) -> tuple[tuple[int, int], str]:
    """Size and mode of one image, its checksums verified where its format has them."""
    image = _open(path)
    try:
        with image:
            size, mode = image.size, image.mode
            image.verify()
    except Exception as error:
        raise _unreadable(path, error) from error
    if mode in _DEEP:
        raise DataError(f"{show(path)} has more than 8 bits per channel; save it as 8-bit")
    return size, mode


def _decode(path: Path, grey: bool) -> npt.NDArray[np.uint8]:
    image = _open(path)
    try:
        with image, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a palette's transparency, which is dropped anyway
            return np.asarray(image.convert("L" if grey else "RGB"))
    except Exception as error:
        raise _unreadable(path, error) from error


def _open(path: Path) -> Image.Image:
    if not path.is_file():
        raise DataError(f"{show(path)} is a broken link or not a regular file; take it out")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            return Image.open(path, formats=_FORMATS)
    except Exception as error:  # decoders raise whatever a corrupt file makes them trip over
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> DataError:
    return DataError(
        f"{show(path)} is not a readable image ({one_line(error, 120)}); replace it or take it out"
    )
