"""The named data sets: scikit-learn's digits, and torchvision's sets in torchvision's layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from lae_fast.data import idx
from lae_fast.data.download import downloading
from lae_fast.data.sets import ImageSet, fixed_split, show
from lae_fast.errors import DataError, one_line

_TEN_DIGITS = tuple("0123456789")
_DIGITS_TEST_FRACTION = 0.2
# Folder under data_dir, which is also the name of torchvision's class; names of the classes.
_IDX_SETS = {
    "mnist": ("MNIST", _TEN_DIGITS),
    "fashion-mnist": (
        "FashionMNIST",
        (
            "T-shirt/top",
            "Trouser",
            "Pullover",
            "Dress",
            "Coat",
            "Sandal",
            "Shirt",
            "Sneaker",
            "Bag",
            "Ankle boot",
        ),
    ),
    "kmnist": ("KMNIST", ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")),
}
# What each of the others keeps under data_dir.
_FILES = {
    "cifar10": ("cifar-10-batches-py",),
    "svhn": ("train_32x32.mat", "test_32x32.mat"),
}


def read(name: str, root: Path, download: bool) -> tuple[ImageSet, ImageSet]:
    """Training and test images of a named data set under ``root``.

    Raises:
        DataError: it is missing and not to be downloaded, cannot be downloaded, or is corrupt.
    """
    if name == "digits":
        return _digits()
    if name in _IDX_SETS:
        return _read_idx(name, root, download)
    return _read_checked(name, root, download)


def read_test(name: str, root: Path, download: bool) -> ImageSet:
    """The test images alone; for IDX sets it is enough that their two files are there.

    Raises:
        DataError: as `read`.
    """
    if name in _IDX_SETS:
        folder, class_names = _IDX_SETS[name]
        raw = root / folder / "raw"
        if not idx.missing(raw, ("t10k",)):
            return idx.read(raw, "t10k", class_names)
    return read(name, root, download)[1]


def _digits() -> tuple[ImageSet, ImageSet]:
    """The 1797 bundled 8x8 digits, their 0..16 scaled to 0..255; a fixed fifth is the test set."""
    from sklearn.datasets import load_digits

    bundle = load_digits()
    pixels = np.rint(bundle.images * (255 / 16)).astype(np.uint8)[:, None]
    labels = torch.from_numpy(bundle.target.astype(np.int64))
    everything = ImageSet(torch.from_numpy(pixels), labels, _TEN_DIGITS)
    train, test = fixed_split(len(everything), _DIGITS_TEST_FRACTION)
    return everything.subset(train), everything.subset(test)


def _read_idx(name: str, root: Path, download: bool) -> tuple[ImageSet, ImageSet]:
    folder, class_names = _IDX_SETS[name]
    raw = root / folder / "raw"
    if download and idx.missing(raw):
        with downloading(name, root, raw):
            _construct(folder, root, train=True, download=True)
    if absent := idx.missing(raw):
        raise DataError(
            f"{name} is not in {show(root)} (no {absent[0]}); drop --no-download, or put the "
            f"four IDX files into {show(raw)}"
        )
    return idx.read(raw, "train", class_names), idx.read(raw, "t10k", class_names)


def _read_checked(name: str, root: Path, download: bool) -> tuple[ImageSet, ImageSet]:
    """CIFAR-10 and SVHN: torchvision checks the MD5 of every file before it reads it."""
    try:
        return _both(name, root, download=False)
    except RuntimeError as error:
        if not download:
            raise DataError(_absent_or_corrupt(name, root)) from error
    except OSError:
        raise
    except Exception as error:  # unpickling and MAT reading raise anything
        raise DataError(_absent_or_corrupt(name, root)) from error
    with downloading(name, root, root):
        return _both(name, root, download=True)


def _both(name: str, root: Path, *, download: bool) -> tuple[ImageSet, ImageSet]:
    convert = _from_cifar10 if name == "cifar10" else _from_svhn
    kind = name.upper()
    train = convert(_construct(kind, root, train=True, download=download))
    return train, convert(_construct(kind, root, train=False, download=download))


def _construct(kind: str, root: Path, *, train: bool, download: bool) -> Any:
    from torchvision import datasets

    if kind == "SVHN":
        split = "train" if train else "test"
        return datasets.SVHN(root, split=split, download=download)
    return getattr(datasets, kind)(root, train=train, download=download)


def _from_cifar10(source: Any) -> ImageSet:
    pixels = np.ascontiguousarray(source.data.transpose(0, 3, 1, 2))
    labels = torch.tensor(source.targets, dtype=torch.int64)
    return ImageSet(torch.from_numpy(pixels), labels, tuple(map(one_line, source.classes)))


def _from_svhn(source: Any) -> ImageSet:
    pixels = torch.from_numpy(np.ascontiguousarray(source.data))
    return ImageSet(pixels, torch.from_numpy(source.labels.astype(np.int64)), _TEN_DIGITS)


def _absent_or_corrupt(name: str, root: Path) -> str:
    paths = [root / entry for entry in _FILES[name]]
    listed = " and ".join(show(path) for path in paths)
    if all(path.exists() for path in paths):
        return f"{name} is incomplete or corrupt; delete {listed}, then drop --no-download"
    return f"{name} is not in {show(root)}; drop --no-download, or put {listed} there"
