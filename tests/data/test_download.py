"""Downloads through torchvision, from a server on this machine; CIFAR-10 and SVHN."""

from __future__ import annotations

import errno
import functools
import gzip
import hashlib
import http.server
import os
import pickle
import socket
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from helpers.data_cases import IDX, gradient, refused, same_images
from lae_fast.data import load


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
