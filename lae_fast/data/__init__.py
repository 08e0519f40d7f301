"""Images as one uint8 tensor, from named data sets or from your own arrays and folders.

`load` returns the splits, `batch_indices` the order of an epoch, and `to_pixels` a batch as the
model reads it. Only the sources that need torchvision, scikit-learn or pillow import them.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from lae_fast.config import DATASETS, VALIDATION_SETS
from lae_fast.data.batches import batch_indices, binarize, to_pixels
from lae_fast.data.sets import ImageSet, Splits, fixed_split
from lae_fast.errors import DataError, closest, one_line, reason

__all__ = [
    "DataError",
    "ImageSet",
    "Splits",
    "batch_indices",
    "binarize",
    "load",
    "load_test",
    "to_pixels",
]

_ARRAY_SUFFIXES = (".npy", ".npz")


def load(
    dataset: str,
    data_dir: str | Path = "data",
    *,
    download: bool = True,
    validation: str = "split",
    validation_fraction: float = 0.1,
    image_size: int | None = None,
) -> Splits:
    """The training, validation and test images of a data set.

    Args:
        dataset: a name from `lae_fast.config.DATASETS`, or the path of a .npy or .npz array or of
            a folder of images. A name wins over a file of that name; write ``./mnist`` for the
            file.
        data_dir: folder of the named data sets, in torchvision's layout; downloads go there.
        download: download a named data set that is missing. One that is there is read without
            network access.
        validation: ``split`` validates on a fixed part of the training images, the same for every
            run with this number of images and this fraction. ``test`` validates on the test set
            and trains on all training images.
        validation_fraction: share of the training images in the split, in (0, 1).
        image_size: scale and crop the images of a folder to squares of so many pixels per side.

    Raises:
        MixedSizesError: a folder of images of several sizes, without ``image_size``.
        DataError: an argument or a file cannot be used.
    """
    if validation not in VALIDATION_SETS:
        raise DataError(f"validation must be 'split' or 'test', not {validation!r}")
    if not 0 < validation_fraction < 1:
        raise DataError(f"validation_fraction must be between 0 and 1, not {validation_fraction}")
    with _as_data_errors(dataset):
        name, train, test = _read(dataset, Path(data_dir).expanduser(), download, image_size)
    return _splits(name, train, test, validation, validation_fraction)


def load_test(
    dataset: str,
    data_dir: str | Path = "data",
    *,
    download: bool = True,
    image_size: int | None = None,
) -> ImageSet:
    """The test images of a named data set, or all images of a path.

    Training images may be missing. Arguments and errors are those of `load`.
    """
    root = Path(data_dir).expanduser()
    with _as_data_errors(dataset):
        if dataset in DATASETS:
            from lae_fast.data import named

            return named.read_test(dataset, root, download)
        return _read(dataset, root, download, image_size)[1]


@contextlib.contextmanager
def _as_data_errors(dataset: str) -> Iterator[None]:
    try:
        yield
    except MemoryError as error:
        raise DataError(f"{one_line(dataset)} does not fit in memory; use fewer images") from error
    except OSError as error:
        raise DataError(f"cannot read {one_line(dataset)}: {reason(error)}") from error


def _splits(
    name: str, train: ImageSet, test: ImageSet | None, validation: str, fraction: float
) -> Splits:
    if test is not None and test.image_shape != train.image_shape:
        raise DataError(
            f"{name}: training images are {train.image_shape} but test images are "
            f"{test.image_shape} (channels, height, width); the files are not of one data set"
        )
    if validation == "split":
        kept, held_out = fixed_split(len(train), fraction)
        return Splits(name, train.subset(kept), train.subset(held_out), test)
    if test is None:
        raise DataError(f"{name} has no test set to validate on; use --validation split")
    return Splits(name, train, test, test)


def _read(
    dataset: str, root: Path, download: bool, image_size: int | None
) -> tuple[str, ImageSet, ImageSet | None]:
    """Name, training images and test images of a named data set or a path."""
    if dataset in DATASETS:
        from lae_fast.data import named

        return dataset, *named.read(dataset, root, download)
    if not dataset.strip():
        raise DataError(f"no data set is given; give one of {', '.join(DATASETS)}, or a path")
    path = Path(dataset).expanduser()
    name = one_line(path.stem or path.resolve().name or dataset)
    if path.is_dir():
        from lae_fast.data import folder

        return name, folder.read(path, image_size), None
    if path.is_file() and path.suffix.lower() in _ARRAY_SUFFIXES:
        from lae_fast.data import arrays

        return name, arrays.read(path), None
    raise DataError(_unknown(dataset, path))


def _unknown(dataset: str, path: Path) -> str:
    shown = one_line(dataset)
    if path.exists():
        return f"{shown} is not a .npy or .npz array nor a folder of images; convert it to one"
    if os.sep in dataset or path.suffix.lower() in _ARRAY_SUFFIXES:
        return f"there is no file or folder {shown}; check the path"
    close = closest(dataset, DATASETS)
    if close:
        return f"unknown data set '{shown}'; did you mean '{close}'?"
    return (
        f"unknown data set '{shown}'; give one of {', '.join(DATASETS)}, or the path of a "
        ".npy/.npz array or a folder of images"
    )
