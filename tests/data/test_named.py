"""Data sets by name."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from helpers.command_line import ROOT, python
from helpers.data_cases import refused, whole
from lae_fast.data import load, named

SHARED = ROOT.parent / "shared" / "data"
needs_mnist = pytest.mark.skipif(
    not (SHARED / "MNIST" / "raw").is_dir(), reason="real MNIST is not there"
)


def test_digits() -> None:
    splits = load("digits")
    assert (len(splits.train), len(splits.validation)) == (1294, 144)
    assert splits.test is not None
    assert len(splits.test) == 359
    assert splits.train.image_shape == (1, 8, 8)
    everything = torch.cat([whole(splits), splits.test.images])
    assert int(everything.max()) == 255
    assert len(everything.unique()) == 17
    assert splits.train.class_names == tuple("0123456789")
    again = load("digits")
    assert torch.equal(again.validation.images, splits.validation.images)


def test_digits_come_without_importing_scikit_learn() -> None:
    code = "import sys, lae_fast.data as d; d.load('digits'); print('sklearn' in sys.modules)"
    assert python("-c", code).stdout == "False\n"


def test_digits_are_those_of_scikit_learn() -> None:
    from sklearn.datasets import load_digits

    bundle, rows = load_digits(), named._digit_rows()
    assert (rows[:, :64] == bundle.data).all()
    assert (rows[:, 64] == bundle.target).all()


def test_validation_on_test() -> None:
    splits = load("digits", validation="test")
    assert splits.validation is splits.test
    assert len(splits.train) == 1438


@needs_mnist
def test_real_mnist() -> None:
    splits = load("mnist", SHARED, download=False)
    assert splits.test is not None
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [
        54000,
        6000,
        10000,
    ]
    assert splits.train.image_shape == (1, 28, 28)
    everything = torch.cat([splits.train.labels, splits.validation.labels])
    counts = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert everything.bincount().tolist() == counts  # of MNIST, by digit
    assert whole(splits).float().mean().item() / 255 == pytest.approx(0.1307, abs=5e-5)


def test_unknown_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with refused("did you mean 'mnist'"):
        load("nmist")
    with refused("did you mean 'cifar10'"):
        load("CIFAR-10")
    with refused("no data set"):
        load("")
    with refused("digits, mnist", ".npz"):
        load("zzzzzz")
    with refused("check the path", "images.npy"):
        load("some/images.npy")
    for path in ("./nosuchdir/", "./digits", "mnist/"):  # as like a name as they may be
        with refused(f"there is no file or folder {path}; check the path"):
            load(path)
    with refused("\\x00"):
        load("a\0b")
    with refused():
        load("x" * 5000)
    (tmp_path / "notes.txt").write_text("hello")
    with refused("notes.txt", "convert"):
        load("notes.txt")
    with refused("validation"):
        load("digits", validation="tset")
    with refused("validation_fraction"):
        load("digits", validation_fraction=float("nan"))


def test_a_name_wins_over_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits").mkdir()
    assert len(load("digits").train) == 1294
    with refused("holds no images"):
        load("./digits")
