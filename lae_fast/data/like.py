"""New images for a trained model, from files, in the shape of those that it was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from lae_fast.data import arrays, folder
from lae_fast.data.sets import ImageSet, no_labels, show
from lae_fast.errors import DataError, reason

_ARRAYS = (".npy", ".npz")


def read_like(
    paths: Sequence[Path], image_shape: tuple[int, int, int], *, resize: bool = False
) -> tuple[ImageSet, list[str]]:
    """Images of files, folders and arrays, in that order, without labels; and a name for each.

    Args:
        paths: image files, folders of them, and .npy or .npz arrays.
        image_shape: channels, height, width.
        resize: scale and crop image files of another size; arrays must have the shape.

    Raises:
        DataError: nothing there, unreadable, or of another shape; the message names the file.
    """
    pixels, names = [], []
    for path in paths:
        try:
            found, called = _read(path.expanduser(), image_shape, resize)
        except OSError as error:
            raise DataError(f"cannot read {show(path)}: {reason(error)}") from error
        pixels.append(found)
        names += called
    together = torch.cat(pixels)
    return ImageSet(together, no_labels(len(together)), ()), names


def _read(
    path: Path, image_shape: tuple[int, int, int], resize: bool
) -> tuple[torch.Tensor, list[str]]:
    if path.suffix.lower() in _ARRAYS and path.is_file():
        found = arrays.read(path)
        if found.image_shape != image_shape:
            raise DataError(
                f"the images of {show(path)} are {found.image_shape} and the model's "
                f"{image_shape} (channels, height, width)"
            )
        return found.images, [f"{path}[{row}]" for row in range(len(found))]
    if not path.exists():
        raise DataError(f"there is no file or folder {show(path)}; check the path")
    files = folder.files_in(path) if path.is_dir() else [path]
    images = [folder.read_file(file, image_shape, resize=resize).images for file in files]
    return torch.cat(images), [str(file) for file in files]
