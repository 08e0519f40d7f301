"""IDX files, whole and broken."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from helpers.data_cases import IDX, gradient, idx_bytes, refused, same_images, write_idx
from lae_fast.data import load


@pytest.mark.parametrize(
    ("name", "folder"),
    [("mnist", "MNIST"), ("fashion-mnist", "FashionMNIST"), ("kmnist", "KMNIST")],
)
def test_idx(tmp_path: Path, name: str, folder: str) -> None:
    write_idx(tmp_path, folder=folder)
    splits = load(name, tmp_path)  # no network is asked for what is there
    assert same_images(splits, gradient(20, 5, 4)[:, None])
    assert splits.test is not None
    assert splits.test.labels.tolist() == [0, 1, 2, 3, 4, 5]
    assert len(splits.train.class_names) == 10


def test_idx_gzipped(tmp_path: Path) -> None:
    raw = write_idx(tmp_path)
    for name, content in IDX.items():
        (raw / name).unlink()
        (raw / f"{name}.gz").write_bytes(gzip.compress(content))
    assert same_images(load("mnist", tmp_path, download=False), gradient(20, 5, 4)[:, None])
    name = "train-images-idx3-ubyte"
    whole_file = gzip.compress(IDX[name])
    (raw / f"{name}.gz").write_bytes(whole_file[:-30])
    with refused("truncated", f"{name}.gz"):
        load("mnist", tmp_path, download=False)
    bomb = bytes((0, 0, 8, 3)) + struct.pack(">3I", 2**31, 2**10, 2**10)
    (raw / f"{name}.gz").write_bytes(gzip.compress(bomb))
    with refused("truncated or corrupt"):
        load("mnist", tmp_path, download=False)


def test_idx_missing(tmp_path: Path) -> None:
    with refused("--no-download", "MNIST/raw"):
        load("mnist", tmp_path, download=False)
    (write_idx(tmp_path) / "t10k-labels-idx1-ubyte").unlink()
    with refused("no t10k-labels-idx1-ubyte"):
        load("mnist", tmp_path, download=False)


BROKEN_IDX = {
    "truncated": ("train-images-idx3-ubyte", lambda b: b[:-1], "truncated"),
    "cut in its header": ("train-images-idx3-ubyte", lambda b: b[:9], "not an IDX file"),
    "empty": ("train-labels-idx1-ubyte", lambda b: b"", "not an IDX file"),
    "too long": ("t10k-images-idx3-ubyte", lambda b: b + b"x", "more data"),
    "labels as images": (
        "train-images-idx3-ubyte",
        lambda b: IDX["train-labels-idx1-ubyte"],
        "not an IDX file",
    ),
    "floats": ("t10k-images-idx3-ubyte", lambda b: b[:2] + b"\x0d" + b[3:], "not an IDX file"),
    "an error page": ("train-images-idx3-ubyte", lambda b: b"<html>404</html>" * 9, "not an IDX"),
    "fewer labels": (
        "train-labels-idx1-ubyte",
        lambda b: idx_bytes(np.zeros(19, np.uint8)),
        "20 images",
    ),
    "a label of 10": (
        "train-labels-idx1-ubyte",
        lambda b: b[:-1] + b"\x0a",
        "label 10",
    ),
    "no images": (
        "t10k-images-idx3-ubyte",
        lambda b: idx_bytes(np.zeros((0, 5, 4), np.uint8)),
        "no images",
    ),
    "another size": (
        "t10k-images-idx3-ubyte",
        lambda b: idx_bytes(gradient(6, 4, 4)),
        "not of one data set",
    ),
    "declares 2^62 bytes": (
        "train-images-idx3-ubyte",
        lambda b: bytes((0, 0, 8, 3)) + struct.pack(">3I", 2**31, 2**31, 1) + b[16:],
        "truncated",
    ),
}


@pytest.mark.parametrize("case", BROKEN_IDX)
def test_idx_broken(tmp_path: Path, case: str) -> None:
    name, change, fragment = BROKEN_IDX[case]
    write_idx(tmp_path, {name: change(IDX[name])})
    with refused(fragment, name if "size" not in case else ""):
        load("mnist", tmp_path)
