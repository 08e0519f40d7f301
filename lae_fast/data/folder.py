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
from PIL import Image, ImageOps

from lae_fast.data.sets import ImageSet, index_labels, no_labels, refuse_oversized, show
from lae_fast.errors import DataError, MixedSizesError, one_line, printable

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")

_FORMATS = ("PNG", "JPEG", "BMP", "WEBP")
_GREY = ("1", "L", "LA", "La")
MOST_SUGGESTED = 64
"""Pixels per side: larger images train slowly."""
_DEEP = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")


def read(root: Path, size: int | None = None) -> ImageSet:
    """Every image under ``root``, in order of path.

    Images lie directly in ``root``, without labels, or at any depth in its subfolders, one per
    class. Names that begin with a dot and files of other kinds are ignored. Links to files and to
    class folders are followed; links to folders further down are not. The images are grey if every
    file is, else colour. What is transparent becomes white.

    Args:
        root: the folder.
        size: scale and crop every image to a square of so many pixels per side, about its centre.

    Raises:
        MixedSizesError: images of several sizes, and no ``size``.
        DataError: there are no images, or one is corrupt or has more than 8 bits per channel; the
            message names the first such file.
    """
    files, classes = _find(root)
    found = [_inspect(path) for path in files]
    channels = 1 if all(mode in _GREY for _, mode in found) else 3
    width, height = (size, size) if size else _common_size(root, [size for size, _ in found])
    pixels = _read_all(files, (channels, height, width), show(root))
    if not classes:
        return ImageSet(pixels, no_labels(len(files)), ())
    return ImageSet(pixels, *index_labels(np.array(classes)))


def read_file(path: Path, image_shape: tuple[int, int, int], *, resize: bool = False) -> ImageSet:
    """One image file in the shape of others: channels, height, width. Colours become grey levels.

    Raises:
        DataError: it has another size, and ``resize`` is not given; or it is unreadable.
    """
    _, height, width = image_shape
    size, _ = _inspect(path)
    if size != (width, height) and not resize:
        raise DataError(
            f"{show(path)} is {size[0]}x{size[1]} and the model's images are {width}x{height}; "
            "add --resize to scale and crop it"
        )
    return ImageSet(_read_all([path], image_shape, show(path)), no_labels(1), ())


def _read_all(files: list[Path], image_shape: tuple[int, int, int], source: str) -> torch.Tensor:
    """The pixels of all files, ``(n, c, h, w)``, each scaled and cropped to the shape."""
    channels, height, width = image_shape
    shape = (len(files), *image_shape)
    refuse_oversized(math.prod(shape), source)
    images = np.empty(shape, dtype=np.uint8)
    for row, path in zip(images, files, strict=True):
        pixels = _decode(path, channels == 1, (width, height))
        row[:] = pixels.reshape(height, width, channels).transpose(2, 0, 1)
    return torch.from_numpy(images)


def files_in(root: Path) -> list[Path]:
    """The image files that `read` reads, in their order."""
    return _find(root)[0]


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


def _common_size(root: Path, sizes: list[tuple[int, int]]) -> tuple[int, int]:
    """Width and height of all images.

    Raises:
        MixedSizesError: there are several.
    """
    counts = Counter(sizes).most_common()
    if len(counts) == 1:
        return sizes[0]
    shown = ", ".join(f"{width}x{height} ({n})" for (width, height), n in counts[:3])
    more = f" and {len(counts) - 3} more" if len(counts) > 3 else ""
    found = f"{show(root)} holds images of {len(counts)} sizes: {shown}{more}"
    side = min(MOST_SUGGESTED, *(min(size) for size in sizes))
    raise MixedSizesError(
        f"{found}. What size should they have? Add --image-size {side} to scale and crop each to "
        f"{side}x{side}",
        found,
        side,
    )


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


def _decode(path: Path, grey: bool, size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Pixels of a file, scaled and cropped to width and height; white where transparent."""
    image = _open(path)
    try:
        with image:
            shown = _on_white(image).convert("L" if grey else "RGB")
            if shown.size != size:
                shown = ImageOps.fit(shown, size, Image.Resampling.LANCZOS)
            return np.asarray(shown)
    except Exception as error:
        raise _unreadable(path, error) from error


def _on_white(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image
    colours = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", colours.size, "white"), colours)


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
