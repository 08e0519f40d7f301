"""Images for training: named data sets, your own arrays and folders, all as one uint8 tensor.

`load` gives the splits, `batch_indices` the order of an epoch, `to_pixels` a batch as the model
reads it. torchvision, scikit-learn and pillow are imported only by the sources that need them.
"""

from __future__ import annotations

import os
from pathlib import Path

from lae_fast.config import DATASETS, VALIDATION_SETS
from lae_fast.data.batches import batch_indices, binarize, to_pixels
from lae_fast.data.sets import ImageSet, Splits, fixed_split
from lae_fast.errors import DataError, closest, one_line

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
) -> Splits:
    """Load a data set and set its validation images aside.

    Args:
        dataset: a name of `lae_fast.config.DATASETS`, or the path of a .npy/.npz array or of a
            folder of images. A name wins over a file of that name; ``./mnist`` is the file.
        data_dir: where named data sets lie, in torchvision's layout, or are downloaded to.
        download: fetch a named data set that is not there. One that is there is read without
            any network access.
        validation: ``split`` takes a fixed seeded part of the training images, the same for
            every run with this number of images and fraction; ``test`` validates on the test
            set and trains on all training images.
        validation_fraction: share of the training images in the split, in (0, 1).

    Raises:
        DataError: anything missing, truncated, corrupt, unreadable or unsuitable, in one line.
    """
    if validation not in VALIDATION_SETS:
        raise DataError(f"validation must be 'split' or 'test', not {validation!r}")
    if not 0 < validation_fraction < 1:
        raise DataError(f"validation_fraction must be between 0 and 1, not {validation_fraction}")
    try:
        name, train, test = _read(dataset, Path(data_dir).expanduser(), download)
    except DataError:
        raise
    except MemoryError as error:
        raise DataError(f"{one_line(dataset)} does not fit in memory; use fewer images") from error
    except OSError as error:
        raise DataError(f"cannot read {one_line(dataset)}: {one_line(error)}") from error
    return _splits(name, train, test, validation, validation_fraction)


def load_test(dataset: str, data_dir: str | Path = "data", *, download: bool = True) -> ImageSet:
    """The test images of a named data set, or all images of a path: for sets not trained on.

    Arguments and errors as in `load`; training images need not be there.
    """
    root = Path(data_dir).expanduser()
    try:
        if dataset in DATASETS:
            from lae_fast.data import named

            return named.read_test(dataset, root, download)
        return _read(dataset, root, download)[1]
    except DataError:
        raise
    except OSError as error:
        raise DataError(f"cannot read {one_line(dataset)}: {one_line(error)}") from error


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
        raise DataError(f"{name} has no test set to validate on; use validation 'split'")
    return Splits(name, train, test, test)


def _read(dataset: str, root: Path, download: bool) -> tuple[str, ImageSet, ImageSet | None]:
    """Name, training images and test images of a named set or a path."""
    if dataset in DATASETS:
        from lae_fast.data import named

        return dataset, *named.read(dataset, root, download)
    if not dataset.strip():
        raise DataError(f"no data set is given; give one of {', '.join(DATASETS)}, or a path")
    path = Path(dataset).expanduser()
    name = one_line(path.stem or path.resolve().name or dataset)
    if path.is_dir():
        from lae_fast.data import folder

        return name, folder.read(path), None
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
