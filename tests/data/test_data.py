"""Data sets: every source, every way a source can be wrong, the split, the order of an epoch."""

from __future__ import annotations

import contextlib
import errno
import functools
import gzip
import hashlib
import http.server
import io
import os
import pickle
import random
import socket
import struct
import subprocess
import sys
import tarfile
import threading
import tracemalloc
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from helpers.command_line import ROOT
from lae_fast.data import DataError, ImageSet, Splits, batch_indices, load, to_pixels
from lae_fast.data.sets import fixed_split, refuse_oversized

SHARED = ROOT.parent / "shared" / "data"
needs_mnist = pytest.mark.skipif(
    not (SHARED / "MNIST" / "raw").is_dir(), reason="real MNIST is not there"
)


@contextlib.contextmanager
def refused(*fragments: str) -> Iterator[None]:
    """The block raises `DataError`: one printable line that holds every fragment."""
    with pytest.raises(DataError) as caught:
        yield
    message = str(caught.value)
    assert message.isprintable(), message
    for fragment in fragments:
        assert fragment in message


def gradient(n: int, *shape: int) -> np.ndarray:
    """Distinct uint8 images, so that a wrong transpose or order shows."""
    return np.random.RandomState(n).randint(0, 256, (n, *shape)).astype(np.uint8)


def whole(splits: Splits) -> torch.Tensor:
    return torch.cat([splits.train.images, splits.validation.images])


def same_images(splits: Splits, expected: np.ndarray) -> bool:
    """Whether training and validation images together are ``expected`` (n, c, h, w)."""
    found = {row.numpy().tobytes() for row in whole(splits)}
    wanted = {np.ascontiguousarray(row).tobytes() for row in expected}
    return len(whole(splits)) == len(expected) and found == wanted


# --- the contract ------------------------------------------------------------------------------


def test_image_set_checks_itself() -> None:
    images = torch.zeros(3, 1, 2, 2, dtype=torch.uint8)
    labels = torch.tensor([0, 1, 0])
    images[1] = 7
    data = ImageSet(images, labels, ("a", "b"))
    assert len(data) == 3
    assert data.image_shape == (1, 2, 2)
    assert data.subset(torch.tensor([1])).images.unique().tolist() == [7]
    assert data.subset(labels == 0).labels.tolist() == [0, 0]
    assert data.to("cpu").class_names == ("a", "b")
    with refused("uint8"):
        ImageSet(images.float(), labels, ())
    with refused("(n, c, h, w)"):
        ImageSet(images[:, 0], labels, ())
    with refused("one per image"):
        ImageSet(images, labels[:2], ())


def test_import_is_light() -> None:
    code = (
        "import sys, lae_fast.data; "
        "print([m for m in ('torchvision', 'sklearn', 'PIL', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stdout.strip() == "[]"


@settings(max_examples=60, deadline=None)
@given(n=st.integers(2, 3000), fraction=st.floats(0.001, 0.999))
def test_split_partitions(n: int, fraction: float) -> None:
    kept, held_out = fixed_split(n, fraction)
    assert torch.equal(torch.cat([kept, held_out]).sort().values, torch.arange(n))
    assert len(kept) >= 1
    assert len(held_out) == min(max(1, round(n * fraction)), n - 1)


def test_split_never_moves() -> None:
    """The split of an n and a fraction is part of every published number: it may not change."""
    _, held_out = fixed_split(60000, 0.1)
    digest = hashlib.sha256(held_out.numpy().astype("<i8").tobytes()).hexdigest()
    assert digest.startswith("64f419d79fa7f8fc")


def test_split_needs_two() -> None:
    with refused("at least 2"):
        fixed_split(1, 0.5)


# --- batches -----------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(0, 500),
    batch_size=st.integers(1, 64),
    seed=st.integers(0, 2**64 - 1),
    epoch=st.integers(0, 2**64 - 1),
)
def test_batches(n: int, batch_size: int, seed: int, epoch: int) -> None:
    def batches() -> list[torch.Tensor]:
        return list(batch_indices(n, batch_size, seed=seed, epoch=epoch))

    found = batches()
    assert all(batch.dtype == torch.int64 for batch in found)
    assert all(len(batch) == batch_size for batch in found[:-1])
    seen = torch.cat(found) if found else torch.empty(0, dtype=torch.int64)
    assert len(seen.unique()) == len(seen) == n
    if len(seen):
        assert int(seen.min()) >= 0
        assert int(seen.max()) < n
    assert [batch.tolist() for batch in batches()] == [batch.tolist() for batch in found]


def test_batches_differ_by_seed_and_epoch() -> None:
    def order(seed: int, epoch: int) -> tuple[int, ...]:
        return tuple(torch.cat(list(batch_indices(50, 8, seed=seed, epoch=epoch))).tolist())

    orders = {order(seed, epoch) for seed in range(6) for epoch in range(6)}
    assert len(orders) == 36  # not, say, a function of seed + epoch


def test_batches_are_uniform() -> None:
    """Chi-squared of where image 0 lands, 20 positions, 19 degrees of freedom: false alarm 1e-6."""
    counts = np.zeros(20)
    for epoch in range(4000):
        order = torch.cat(list(batch_indices(20, 20, seed=3, epoch=epoch)))
        counts[int((order == 0).nonzero())] += 1
    assert ((counts - 200) ** 2 / 200).sum() < 63.7


@pytest.mark.parametrize(
    "arguments",
    [
        {"n": -1, "batch_size": 4, "seed": 0, "epoch": 0},
        {"n": 5, "batch_size": 0, "seed": 0, "epoch": 0},
        {"n": 5, "batch_size": 4, "seed": -1, "epoch": 0},
        {"n": 5, "batch_size": 4, "seed": 0, "epoch": 2**64},
    ],
)
def test_batches_refuse_on_the_call(arguments: dict[str, int]) -> None:
    with refused():
        batch_indices(**arguments)  # type: ignore[arg-type]


def test_pixels() -> None:
    batch = torch.arange(256, dtype=torch.uint8).reshape(4, 1, 8, 8)
    pixels = to_pixels(batch)
    assert pixels.shape == (4, 64)
    assert pixels.dtype == torch.float32
    torch.testing.assert_close(pixels.flatten(), torch.arange(256) / 255, rtol=0, atol=0)
    assert to_pixels(batch, torch.float64).max() == 1.0
    assert to_pixels(batch[:0]).shape == (0, 64)
    with refused("uint8"):
        to_pixels(batch.float())
    with refused("floating"):
        to_pixels(batch, torch.int32)


# --- names -------------------------------------------------------------------------------------


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
    assert everything.bincount().tolist() == counts  # as published
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


# --- IDX ---------------------------------------------------------------------------------------


def idx_bytes(array: np.ndarray) -> bytes:
    return (
        bytes((0, 0, 8, array.ndim))
        + struct.pack(f">{array.ndim}I", *array.shape)
        + (array.tobytes())
    )


IDX = {
    "train-images-idx3-ubyte": idx_bytes(gradient(20, 5, 4)),
    "train-labels-idx1-ubyte": idx_bytes(np.arange(20, dtype=np.uint8) % 10),
    "t10k-images-idx3-ubyte": idx_bytes(gradient(6, 5, 4)),
    "t10k-labels-idx1-ubyte": idx_bytes(np.arange(6, dtype=np.uint8)),
}


def write_idx(root: Path, changes: dict[str, bytes] | None = None, folder: str = "MNIST") -> Path:
    raw = root / folder / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    for name, content in (IDX | (changes or {})).items():
        (raw / name).write_bytes(content)
    return raw


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


# --- downloads, from a server on this machine ----------------------------------------------------


class Silent(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder and the address that serves it."""
    folder = tmp_path / "served"
    folder.mkdir()
    handler = functools.partial(Silent, directory=folder)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield folder, f"http://127.0.0.1:{server.server_address[1]}/"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def mirror(served: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A mirror of a small MNIST, which torchvision believes to be MNIST's own."""
    from torchvision.datasets import MNIST

    folder, address = served
    packed = {f"{name}.gz": gzip.compress(content, mtime=0) for name, content in IDX.items()}
    for name, content in packed.items():
        (folder / name).write_bytes(content)
    monkeypatch.setattr(MNIST, "mirrors", [address])
    monkeypatch.setattr(
        MNIST,
        "resources",
        [(name, hashlib.md5(content).hexdigest()) for name, content in packed.items()],
    )
    return folder


def test_download(tmp_path: Path, mirror: Path, capfd: pytest.CaptureFixture[str]) -> None:
    splits = load("mnist", tmp_path / "new" / "place")
    assert same_images(splits, gradient(20, 5, 4)[:, None])
    for path in mirror.iterdir():
        path.unlink()
    assert same_images(load("mnist", tmp_path / "new" / "place"), gradient(20, 5, 4)[:, None])
    out, err = capfd.readouterr()
    assert (out, err) == ("", "")


def test_download_not_found(tmp_path: Path, mirror: Path) -> None:
    (mirror / "t10k-images-idx3-ubyte.gz").unlink()
    with refused("could not download mnist", "404"):
        load("mnist", tmp_path)


@pytest.mark.parametrize("keep", [0, 30])
def test_download_corrupt(tmp_path: Path, mirror: Path, keep: int) -> None:
    path = mirror / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:keep])
    with refused("could not download mnist", "corrupt"):
        load("mnist", tmp_path)


def test_download_without_network(
    tmp_path: Path, mirror: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchvision.datasets import MNIST

    monkeypatch.setattr(MNIST, "mirrors", ["http://127.0.0.1:9/"])
    with refused("could not download mnist", "check the network"):
        load("mnist", tmp_path)


def test_download_into_a_file(tmp_path: Path, mirror: Path) -> None:
    (tmp_path / "taken").write_text("not a folder")
    with refused("cannot write mnist", "--data-dir"):
        load("mnist", tmp_path / "taken")


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS, errno.ENOSPC])
def test_download_without_permission(
    tmp_path: Path, mirror: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refuse(path: object, *args: object, **kwargs: object) -> None:
        raise OSError(code, os.strerror(code), str(path))

    monkeypatch.setattr(os, "makedirs", refuse)  # permissions do not stop root
    with refused("cannot write mnist", "--data-dir"):
        load("mnist", tmp_path)


def test_download_from_a_silent_server(
    tmp_path: Path, mirror: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchvision.datasets import MNIST

    monkeypatch.setattr("lae_fast.data.download.SILENCE_LIMIT", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as listener:  # connects, then says nothing
        monkeypatch.setattr(MNIST, "mirrors", [f"http://127.0.0.1:{listener.getsockname()[1]}/"])
        with refused("could not download mnist", "timed out"):
            load("mnist", tmp_path)
    assert socket.getdefaulttimeout() is None


# --- CIFAR-10 and SVHN ---------------------------------------------------------------------------


def write_cifar(root: Path, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """A CIFAR-10 of 10 + 2 images, which torchvision believes to be the real one."""
    from torchvision.datasets import CIFAR10

    folder = root / CIFAR10.base_folder
    folder.mkdir(parents=True)
    images = gradient(12, 3, 32, 32)
    names = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]
    sums = {}
    for i, name in enumerate(names):
        entry = {"data": images[2 * i : 2 * i + 2].reshape(2, -1), "labels": [i, i + 1]}
        (folder / name).write_bytes(pickle.dumps(entry))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": list("abcdefghij")}))
    for path in folder.iterdir():
        sums[path.name] = hashlib.md5(path.read_bytes()).hexdigest()
    monkeypatch.setattr(CIFAR10, "train_list", [[name, sums[name]] for name in names[:5]])
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", sums["test_batch"]]])
    meta = CIFAR10.meta | {"md5": sums["batches.meta"]}
    monkeypatch.setattr(CIFAR10, "meta", meta)
    return images


def test_cifar10(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with refused("cifar10 is not in", "--no-download", "cifar-10-batches-py"):
        load("cifar10", tmp_path, download=False)
    images = write_cifar(tmp_path, monkeypatch)
    splits = load("cifar10", tmp_path)
    assert same_images(splits, images[:10])
    assert splits.test is not None
    assert np.array_equal(splits.test.images.numpy(), images[10:])
    assert splits.test.labels.tolist() == [5, 6]
    assert splits.train.class_names == tuple("abcdefghij")
    (tmp_path / "cifar-10-batches-py" / "data_batch_3").write_bytes(b"cut")
    with refused("corrupt", "delete"):
        load("cifar10", tmp_path, download=False)


def test_cifar10_download(
    tmp_path: Path,
    served: tuple[Path, str],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    from torchvision.datasets import CIFAR10

    folder, address = served
    images = write_cifar(tmp_path / "source", monkeypatch)
    archive = folder / "c.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(tmp_path / "source" / CIFAR10.base_folder, CIFAR10.base_folder)
    monkeypatch.setattr(CIFAR10, "url", address + "c.tar.gz")
    monkeypatch.setattr(CIFAR10, "tgz_md5", hashlib.md5(archive.read_bytes()).hexdigest())
    assert same_images(load("cifar10", tmp_path / "new"), images[:10])
    assert capfd.readouterr() == ("", "")
    archive.write_bytes(archive.read_bytes()[:-5])
    with refused("could not download cifar10"):
        load("cifar10", tmp_path / "other")


def test_svhn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from scipy.io import savemat
    from torchvision.datasets import SVHN

    (tmp_path / "train_32x32.mat").write_bytes(b"half")
    with refused("svhn is not in", "test_32x32.mat"):
        load("svhn", tmp_path, download=False)
    images = gradient(8, 3, 32, 32)
    split_list = {}
    for split, part, labels in (
        ("train", images[:6], [1, 2, 3, 9, 10, 10]),
        ("test", images[6:], [10, 1]),
    ):
        path = tmp_path / f"{split}_32x32.mat"
        savemat(path, {"X": part.transpose(2, 3, 1, 0), "y": np.array([labels], np.uint8).T})
        split_list[split] = ["", path.name, hashlib.md5(path.read_bytes()).hexdigest()]
    monkeypatch.setattr(SVHN, "split_list", split_list)
    splits = load("svhn", tmp_path, download=False)
    assert same_images(splits, images[:6])
    assert splits.train.images.is_contiguous()
    assert splits.test is not None
    assert splits.test.labels.tolist() == [0, 1]
    path.write_bytes(path.read_bytes()[:-1])
    with refused("corrupt", "delete"):
        load("svhn", tmp_path, download=False)


# --- own arrays ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        ((9, 6, 5), None),
        ((9, 1, 6, 5), None),
        ((9, 3, 6, 5), None),
        ((9, 6, 5, 3), (0, 3, 1, 2)),
        ((9, 6, 5, 1), (0, 3, 1, 2)),
        ((9, 3, 5, 3), None),  # both readings fit: channels first
    ],
)
def test_npy_layouts(tmp_path: Path, shape: tuple[int, ...], axes: tuple[int, ...] | None) -> None:
    images = gradient(*shape)
    expected = images.transpose(axes) if axes else images.reshape(9, -1, *shape[-2:])
    np.save(tmp_path / "a.npy", images)
    splits = load(str(tmp_path / "a.npy"))
    assert splits.name == "a"
    assert splits.test is None
    assert splits.train.class_names == ()
    assert not splits.train.labels.any()
    assert splits.train.images.is_contiguous()
    assert same_images(splits, expected)
    np.save(tmp_path / "f.npy", np.asfortranarray(images))
    assert same_images(load(str(tmp_path / "f.npy")), expected)
    with refused("has no test set"):
        load(str(tmp_path / "a.npy"), validation="test")


@pytest.mark.parametrize("dtype", ["<f2", "<f4", ">f4", "<f8", ">f8"])
def test_npy_floats(tmp_path: Path, dtype: str) -> None:
    images = gradient(40, 6, 5)
    np.save(tmp_path / "a.npy", (images / 255).astype(dtype))
    splits = load(str(tmp_path / "a.npy"))
    assert same_images(splits, images[:, None])


def test_npy_floats_in_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lae_fast.data.arrays.CONVERT_PIXELS", 70)
    images = gradient(41, 6, 5)
    np.save(tmp_path / "a.npy", images / 255)
    assert same_images(load(str(tmp_path / "a.npy")), images[:, None])


def test_npy_booleans(tmp_path: Path) -> None:
    images = gradient(9, 6, 5) > 127
    np.save(tmp_path / "a.npy", images)
    assert same_images(load(str(tmp_path / "a.npy")), images[:, None].astype(np.uint8) * 255)


@pytest.mark.parametrize(
    ("array", "fragment"),
    [
        (np.full((4, 2, 2), 1.5), "[0, 1]"),
        (np.full((4, 2, 2), -0.1), "[0, 1]"),
        (np.full((4, 2, 2), np.nan), "holds NaN; replace it"),
        (np.full((4, 2, 2), 1e300), "[0, 1]"),
        (np.zeros((4, 2, 2), np.int64), "uint8"),
        (np.zeros((4, 2, 2), complex), "complex128"),
        (np.zeros((4, 2), np.uint8), "reshape"),
        (np.zeros((4, 2, 2, 2), np.uint8), "reshape"),
        (np.zeros((4, 2, 2, 4), np.uint8), "reshape"),
        (np.zeros((), np.uint8), "reshape"),
        (np.zeros((0, 2, 2), np.uint8), "no pixels"),
        (np.zeros((4, 0, 2), np.float32), "no pixels"),
        (np.zeros((1, 2, 2), np.uint8), "at least 2"),
        (np.zeros((4, 2, 2), [("a", "u1")]), "save numbers"),
        (np.zeros((4, 2, 2), "M8[s]"), "save numbers"),
    ],
)
def test_npy_unsuitable(tmp_path: Path, array: np.ndarray, fragment: str) -> None:
    np.save(tmp_path / "a.npy", array)
    with refused(fragment):
        load(str(tmp_path / "a.npy"))


class Trap:
    """Unpickling it would raise: evidence that nothing unpickles."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (eval, ("1/0",))


def test_npy_never_unpickles(tmp_path: Path) -> None:
    objects = np.array([Trap(), Trap()], dtype=object)
    np.save(tmp_path / "a.npy", objects, allow_pickle=True)
    with refused("object"):
        load(str(tmp_path / "a.npy"))
    np.savez(tmp_path / "b.npz", images=gradient(2, 3, 3), labels=objects)
    with refused("object"):
        load(str(tmp_path / "b.npz"))
    (tmp_path / "c.npy").write_bytes(pickle.dumps(Trap()))
    with refused("not in NumPy's .npy format"):
        load(str(tmp_path / "c.npy"))


def npy_bytes(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def npy_declaring(shape: object, descr: str = "|u1", data: bytes = b"") -> bytes:
    """An .npy whose header says ``shape`` whatever follows."""
    header = repr({"descr": descr, "fortran_order": False, "shape": shape}).encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data


LYING_HEADERS = {
    "10^18 bytes": npy_declaring((10**6, 10**6, 10**6)),
    "2^68 bytes": npy_declaring((2**62, 8, 8)),
    "negative": npy_declaring((-4, -2, 2), data=b"x" * 16),
    "boolean": npy_declaring((True, 4, 4), data=b"x" * 16),
    "a byte short": npy_declaring((4, 2, 2), data=b"x" * 15),
    "a byte over": npy_declaring((4, 2, 2), data=b"x" * 17),
    "objects": npy_declaring((4, 2, 2), "|O", b"x" * 128),
    "empty type": npy_declaring((4, 2, 2), "|V0"),
    "shape as text": npy_declaring("(4, 2, 2)", data=b"x" * 16),
    "nested type": npy_declaring((4, 2, 2), "(2,)u1", b"x" * 32),
    "4 GB header": b"\x93NUMPY\x02\x00\xff\xff\xff\xff" + b" " * 100_000,
    "brackets": b"\x93NUMPY\x01\x00\xff\xff" + b"(" * 65_535,
    "future version": b"\x93NUMPY\x09\x00" + b" " * 100,
    "empty file": b"",
    "cut magic": b"\x93NUM",
}


@pytest.mark.parametrize("case", LYING_HEADERS)
def test_npy_lying_headers(tmp_path: Path, case: str) -> None:
    (tmp_path / "a.npy").write_bytes(LYING_HEADERS[case])
    with refused("a.npy"):
        load(str(tmp_path / "a.npy"))


def test_npz(tmp_path: Path) -> None:
    images = gradient(8, 4, 4)
    path = str(tmp_path / "a.npz")
    np.savez_compressed(path, images=images, labels=np.array([5, 5, 7, 9, 9, 7, 5, 5]))
    splits = load(path)
    assert same_images(splits, images[:, None])
    assert splits.train.class_names == ("5", "7", "9")
    for part in (splits.train, splits.validation):
        for image, label in zip(part.images, part.labels, strict=True):
            position = next(i for i in range(8) if np.array_equal(images[i], image[0].numpy()))
            assert [0, 0, 1, 2, 2, 1, 0, 0][position] == int(label)


@pytest.mark.parametrize(
    ("arrays", "names"),
    [
        ({"x": None, "y": np.array(["b", "a", "b", "a\n"])}, ("a", "a\\n", "b")),
        ({"data": None, "y": np.array([[1], [0], [1], [0]])}, ("0", "1")),
        ({"anything": None, "labels": np.array([b"p", b"q", b"p", b"q"])}, ("p", "q")),
        ({"images": None, "y": np.array([True, False] * 2)}, ("False", "True")),
        ({"images": None, "other": np.zeros(3)}, ()),
    ],
)
def test_npz_keys_and_labels(
    tmp_path: Path, arrays: dict[str, np.ndarray | None], names: tuple[str, ...]
) -> None:
    given = {k: gradient(4, 3, 3) if v is None else v for k, v in arrays.items()}
    np.savez(tmp_path / "a.npz", **given)
    splits = load(str(tmp_path / "a.npz"))
    assert splits.train.class_names == names
    assert same_images(splits, gradient(4, 3, 3)[:, None])


@pytest.mark.parametrize(
    ("arrays", "fragment"),
    [
        ({}, "'images'"),
        ({"labels": np.zeros(4, int)}, "'images'"),
        ({"a": gradient(4, 3, 3), "b": gradient(4, 3, 3)}, "a, b"),
        ({"images": gradient(4, 3, 3), "labels": np.zeros(5, int)}, "one label per image"),
        ({"images": gradient(4, 3, 3), "labels": np.zeros((1, 4), int)}, "one label per image"),
        ({"images": gradient(4, 3, 3), "labels": np.zeros((4, 4), int)}, "one label per image"),
        ({"images": gradient(4, 3, 3), "labels": np.zeros(4)}, "integers or text"),
    ],
)
def test_npz_unsuitable(tmp_path: Path, arrays: dict[str, np.ndarray], fragment: str) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    with refused(fragment):
        load(str(tmp_path / "a.npz"))


def write_zip(path: Path, entries: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> None:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)


def test_npz_bombs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A huge shape in a small file is refused before anything of that size is allocated."""

    def no_allocation(shape: object, *args: object, **kwargs: object) -> np.ndarray:
        raise AssertionError(f"allocated {shape}")

    path = tmp_path / "a.npz"
    small = npy_bytes(gradient(4, 3, 3))
    huge = npy_declaring((1 << 15, 1 << 10, 1 << 10))
    write_zip(path, {"images.npy": huge})
    monkeypatch.setattr(np, "empty", no_allocation)
    with refused("header declares"):
        load(str(path))
    # The archive's directory can lie as well: change the size that it declares, wherever it does.
    declared, claimed = struct.pack("<I", len(huge)), struct.pack("<I", 0xFFFF_FF00)
    path.write_bytes(path.read_bytes().replace(declared, claimed))
    with refused("cannot hold"):
        load(str(path))
    write_zip(path, {"images.npy": small}, zipfile.ZIP_LZMA)
    with refused("numpy.savez"):
        load(str(path))


def test_npz_bomb_in_the_header(tmp_path: Path) -> None:
    """A header of 256 MB, a quarter of a MB in the archive, is not unpacked to be refused."""
    header = b"\x93NUMPY\x02\x00" + struct.pack("<I", 1 << 28) + b" " * (1 << 28)
    write_zip(tmp_path / "a.npz", {"images.npy": header})
    del header
    tracemalloc.start()
    with refused("not in NumPy's .npy format"):
        load(str(tmp_path / "a.npz"))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 22


def test_sizes_beyond_memory() -> None:
    with refused("GiB of memory"):
        refuse_oversized(2**60, "a file")


def corruptions(content: bytes, seed: int, count: int) -> Iterator[bytes]:
    """Files with bytes flipped, cut short, or with a piece repeated."""
    rng = random.Random(seed)
    for _ in range(count):
        broken = bytearray(content)
        match rng.randrange(3):
            case 0:
                for _ in range(rng.randrange(1, 6)):
                    broken[rng.randrange(len(broken))] ^= 1 << rng.randrange(8)
            case 1:
                del broken[rng.randrange(len(broken)) :]
            case _:
                at = rng.randrange(len(broken))
                broken[at:at] = broken[at : at + rng.randrange(1, 40)]
        yield bytes(broken)


def png_bytes(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, "PNG")
    return stream.getvalue()


def npz_bytes() -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, images=gradient(6, 4, 4), labels=np.arange(6))
    return stream.getvalue()


def fuzz_seed(name: str) -> bytes:
    match name:
        case "images.npy":
            return npy_bytes(gradient(6, 4, 4) / 255)
        case "images.npz":
            return npz_bytes()
        case "MNIST/raw/train-images-idx3-ubyte":
            return IDX["train-images-idx3-ubyte"]
        case _:
            stream = io.BytesIO()
            kind = {"jpg": "JPEG"}.get(name[-3:], name.rpartition(".")[2].upper())
            Image.fromarray(gradient(16, 16, 3)).save(stream, kind)
            return stream.getvalue()


@pytest.mark.parametrize(
    "name",
    [
        "images.npy",
        "images.npz",
        "MNIST/raw/train-images-idx3-ubyte",
        "f/a.png",
        "f/a.jpg",
        "f/a.bmp",
        "f/a.webp",
    ],
)
def test_corrupt_files_load_or_are_refused(tmp_path: Path, name: str) -> None:
    """Whatever is broken, the answer is a data set or one line: never another exception."""
    write_idx(tmp_path)
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    content = fuzz_seed(name)
    if name.startswith("f/"):
        (path.parent / "b.png").write_bytes(png_bytes(gradient(16, 16, 3)))
    is_idx = name.startswith("MNIST")
    target = "mnist" if is_idx else str(path.parent if name.startswith("f/") else path)
    messages = []
    for broken in corruptions(content, seed=1, count=150):
        path.write_bytes(broken)
        try:
            load(target, tmp_path, download=False)
        except DataError as error:
            messages.append(str(error))
    assert len(messages) > 40
    assert all(message.isprintable() for message in messages)
    path.write_bytes(content)
    load(target, tmp_path, download=False)


# --- folders of images ---------------------------------------------------------------------------


def save(path: Path, array: np.ndarray, **options: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)


def test_folder_of_classes(tmp_path: Path) -> None:
    images = gradient(7, 6, 5)
    names = ["b/1.png", "b/sub/deep/2.PNG", "a/3.bmp", "a/4.png", "ç é/5.png", "new\nline/6.png"]
    for name, image in zip(names, images, strict=False):
        save(tmp_path / name, image)
    save(tmp_path / "a" / ".hidden.png", images[6])
    (tmp_path / "a" / "notes.txt").write_text("not an image")
    save(tmp_path / ".git" / "preview.png", images[6])
    save(tmp_path / "._1.png", images[6])
    splits = load(str(tmp_path))
    assert splits.train.image_shape == (1, 6, 5)
    assert splits.train.class_names == ("a", "b", "new\\nline", "ç é")
    assert same_images(splits, images[:6, None])
    assert sorted(torch.cat([splits.train.labels, splits.validation.labels]).tolist()) == [
        0,
        0,
        1,
        1,
        2,
        3,
    ]


def test_folder_without_classes(tmp_path: Path) -> None:
    images = gradient(5, 6, 5, 3)
    for i, image in enumerate(images):
        save(tmp_path / f"{i}.png", image)
    splits = load(str(tmp_path))
    assert splits.train.image_shape == (3, 6, 5)
    assert splits.train.class_names == ()
    assert same_images(splits, images.transpose(0, 3, 1, 2))


@pytest.mark.parametrize("suffix", ["jpg", "jpeg", "webp"])
def test_folder_lossy_formats(tmp_path: Path, suffix: str) -> None:
    for i in range(3):
        save(tmp_path / f"{i}.{suffix}", np.full((16, 12, 3), 80 * i, np.uint8), quality=95)
    splits = load(str(tmp_path))
    assert splits.train.image_shape == (3, 16, 12)
    assert whole(splits).float().mean((1, 2, 3)).sort().values.tolist() == pytest.approx(
        [0, 80, 160], abs=2
    )


def test_folder_grey_and_colour(tmp_path: Path) -> None:
    save(tmp_path / "1.png", gradient(4, 4))
    save(tmp_path / "2.png", gradient(4, 4) > 127)  # one bit
    Image.fromarray(gradient(4, 4)).convert("LA").save(tmp_path / "3.png")
    assert load(str(tmp_path)).train.image_shape == (1, 4, 4)
    Image.fromarray(gradient(4, 4, 3)).convert("P").save(tmp_path / "4.png")
    Image.fromarray(gradient(4, 4, 3)).convert("RGBA").save(tmp_path / "5.png")
    assert load(str(tmp_path)).train.image_shape == (3, 4, 4)


def test_folder_sizes(tmp_path: Path) -> None:
    save(tmp_path / "0.png", gradient(3, 9))  # the odd one comes first
    for i in range(1, 4):
        save(tmp_path / f"{i}.png", gradient(4, 5))
    with refused("0.png is 9x3", "5x4"):
        load(str(tmp_path))


def test_folder_unsuitable(tmp_path: Path) -> None:
    with refused("holds no images"):
        load(str(tmp_path))
    save(tmp_path / "1.png", gradient(4, 4).astype(np.uint16))
    with refused("1.png", "8-bit"):
        load(str(tmp_path))
    save(tmp_path / "1.png", gradient(4, 4))
    save(tmp_path / "class" / "2.png", gradient(4, 4))
    with refused("directly and in subfolders"):
        load(str(tmp_path))


def test_folder_bad_files(tmp_path: Path) -> None:
    save(tmp_path / "1.png", gradient(4, 4))
    bad = tmp_path / "2\n\x1b[31m.png"
    gif = io.BytesIO()  # a format that is not on the list, whatever the name
    Image.fromarray(gradient(4, 4)).save(gif, "GIF")
    for content in (b"", gif.getvalue(), png_bytes(gradient(4, 4))[:-14]):
        bad.write_bytes(content)
        with refused("2\\n\\x1b[31m.png", "not a readable image"):
            load(str(tmp_path))
    damaged = bytearray(png_bytes(gradient(4, 4)))
    damaged[damaged.index(b"IDAT") + 6] ^= 1
    bad.write_bytes(bytes(damaged))
    with refused("not a readable image"):
        load(str(tmp_path))


@pytest.mark.parametrize("side", [10_000, 100_000])
def test_folder_huge_image(tmp_path: Path, side: int) -> None:
    """A header that declares 10^8 or 10^10 pixels is refused, not allocated."""
    content = bytearray(png_bytes(gradient(4, 4)))
    content[16:24] = struct.pack(">II", side, side)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    (tmp_path / "1.png").write_bytes(bytes(content))
    with refused("1.png", "decompression bomb"):
        load(str(tmp_path))


def test_folder_links(tmp_path: Path) -> None:
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    images = gradient(4, 4, 4)
    save(root / "a" / "1.png", images[0])
    save(root / "b" / "2.png", images[1])
    save(elsewhere / "3.png", images[2])
    (root / "a" / "again").symlink_to(root)  # a loop
    (root / "up").symlink_to(tmp_path)
    (root / "self").symlink_to(root)
    (root / "c").symlink_to(elsewhere)
    splits = load(str(root))
    assert splits.train.class_names == ("a", "b", "c")
    assert same_images(splits, images[:3, None])
    (root / "b" / "loop.png").symlink_to("loop.png")
    with refused("loop.png", "broken link"):
        load(str(root))
    (root / "b" / "loop.png").unlink()
    (root / "loop").symlink_to("loop")  # a folder that never resolves
    assert len(whole(load(str(root)))) == 3


def test_folder_pipes(tmp_path: Path) -> None:
    """A named pipe called .png must not hang the reader."""
    save(tmp_path / "1.png", gradient(4, 4))
    os.mkfifo(tmp_path / "2.png")
    with refused("2.png", "regular file"):
        load(str(tmp_path))
