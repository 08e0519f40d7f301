"""The named data sets: scikit-learn's digits, and torchvision's sets in torchvision's layout.

To add one whose files are in the IDX format, add a line to `_IDX_SETS`; for any other set of
torchvision, write its reader and add it to `_CHECKED`. Either way, name it in
`lae_fast.config.DATASETS`.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from lae_fast.data import idx
from lae_fast.data.download import downloading
from lae_fast.data.sets import ImageSet, fixed_split, show
from lae_fast.errors import DataError, one_line

_TEN_DIGITS = tuple("0123456789")
_CLOTHES = (
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)
_DIGITS_TEST_FRACTION = 0.2

# Folder under data_dir, which is also the name of torchvision's class; names of the classes.
_IDX_SETS = {
    "mnist": ("MNIST", _TEN_DIGITS),
    "fashion-mnist": ("FashionMNIST", _CLOTHES),
    "kmnist": ("KMNIST", ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")),
}


def read(name: str, root: Path, download: bool) -> tuple[ImageSet, ImageSet]:
    """Training and test images of a named data set under ``root``.

    Raises:
        DataError: it is missing and may not or cannot be downloaded, or it is corrupt.
    """
    if name == "digits":
        return _digits()
    if name in _IDX_SETS:
        return _read_idx(name, root, download)
    return _read_checked(name, root, download)


def read_test(name: str, root: Path, download: bool) -> ImageSet:
    """The test images of a named data set; of an IDX set, its training files may be missing.

    Raises:
        DataError: as for `read`.
    """
    if name in _IDX_SETS:
        folder, class_names = _IDX_SETS[name]
        raw = root / folder / "raw"
        if not idx.missing(raw, ("t10k",)):
            return idx.read(raw, "t10k", class_names)
    return read(name, root, download)[1]


def _digits() -> tuple[ImageSet, ImageSet]:
    """The 1,797 bundled 8x8 digits, scaled from 0..16 to 0..255; a fixed fifth is the test set."""
    rows = _digit_rows()
    pixels = np.rint(rows[:, :64] * (255 / 16)).astype(np.uint8).reshape(-1, 1, 8, 8)
    labels = torch.from_numpy(rows[:, 64].astype(np.int64))
    everything = ImageSet(torch.from_numpy(pixels), labels, _TEN_DIGITS)
    train, test = fixed_split(len(everything), _DIGITS_TEST_FRACTION)
    return everything.subset(train), everything.subset(test)


def _digit_rows() -> npt.NDArray[np.float64]:
    """A row per digit: 64 pixels and the class.

    scikit-learn's file is read without importing scikit-learn, which takes seconds.
    """
    found = importlib.util.find_spec("sklearn")
    for place in (found and found.submodule_search_locations) or ():
        file = Path(place, "datasets", "data", "digits.csv.gz")
        if file.is_file():
            return np.loadtxt(file, delimiter=",")
    from sklearn.datasets import load_digits

    bundle = load_digits()
    return np.column_stack([bundle.data, bundle.target])


def _read_idx(name: str, root: Path, download: bool) -> tuple[ImageSet, ImageSet]:
    folder, class_names = _IDX_SETS[name]
    raw = root / folder / "raw"
    if download and idx.missing(raw):
        from torchvision import datasets

        with downloading(name, root, raw):
            getattr(datasets, folder)(root, train=True, download=True)
    if absent := idx.missing(raw):
        raise DataError(
            f"{name} is not in {show(root)} (no {absent[0]}); drop --no-download, or put the "
            f"four IDX files into {show(raw)}"
        )
    return idx.read(raw, "train", class_names), idx.read(raw, "t10k", class_names)


def _read_checked(name: str, root: Path, download: bool) -> tuple[ImageSet, ImageSet]:
    """Read a set of `_CHECKED`: torchvision checks the MD5 of every file before it reads it."""
    read_part, files = _CHECKED[name]

    def both(download: bool) -> tuple[ImageSet, ImageSet]:
        return read_part(root, True, download), read_part(root, False, download)

    try:
        return both(download=False)
    except RuntimeError as error:  # a file is missing or has another MD5
        if not download:
            raise DataError(_absent_or_corrupt(name, root, files)) from error
    except OSError:
        raise
    except Exception as error:  # unpickling and reading MAT files raise anything
        raise DataError(_absent_or_corrupt(name, root, files)) from error
    with downloading(name, root, root):
        return both(download=True)


def _cifar10(root: Path, train: bool, download: bool) -> ImageSet:
    from torchvision.datasets import CIFAR10

    source = CIFAR10(root, train=train, download=download)
    pixels = np.ascontiguousarray(source.data.transpose(0, 3, 1, 2))
    labels = torch.tensor(source.targets, dtype=torch.int64)
    return ImageSet(torch.from_numpy(pixels), labels, tuple(map(one_line, source.classes)))


def _svhn(root: Path, train: bool, download: bool) -> ImageSet:
    from torchvision.datasets import SVHN

    source = SVHN(root, split="train" if train else "test", download=download)
    pixels = torch.from_numpy(np.ascontiguousarray(source.data))
    return ImageSet(pixels, torch.from_numpy(source.labels.astype(np.int64)), _TEN_DIGITS)


# Reads the training or the test images, from ``root`` or the network; what it keeps under data_dir.
_CHECKED: dict[str, tuple[Callable[[Path, bool, bool], ImageSet], tuple[str, ...]]] = {
    "cifar10": (_cifar10, ("cifar-10-batches-py",)),
    "svhn": (_svhn, ("train_32x32.mat", "test_32x32.mat")),
}


def _absent_or_corrupt(name: str, root: Path, files: tuple[str, ...]) -> str:
    paths = [root / file for file in files]
    listed = " and ".join(show(path) for path in paths)
    if all(path.exists() for path in paths):
        return f"{name} is incomplete or corrupt; delete {listed}, then drop --no-download"
    return f"{name} is not in {show(root)}; drop --no-download, or put {listed} there"
