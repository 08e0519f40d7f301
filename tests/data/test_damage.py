"""Files with bytes flipped, cut or repeated: images, or one line."""

from __future__ import annotations

import io
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers.data_cases import IDX, gradient, npy_bytes, png_bytes, write_idx
from lae_fast.data import DataError, load


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
