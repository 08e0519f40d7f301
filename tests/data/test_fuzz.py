"""Broken data sets: images, or one line; nothing unpickled, no memory for what is not there."""

from __future__ import annotations

import gzip
import io
import os
import random
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from helpers.fuzz_cases import INTEGERS, bounded_memory, broken_bytes, fuzz, randoms, refusal
from lae_fast import data
from lae_fast.data import DataError

PIXELS = (np.arange(6 * 8 * 8) % 256).astype(np.uint8).reshape(6, 8, 8)
GIB = 1 << 30


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all examples of the targets."""
    return tmp_path_factory.mktemp("fuzz-data")


def images_or_one_line(dataset: Path | str, root: Path) -> None:
    """Load with little memory to spare: a claim that is believed shows as "does not fit"."""
    with bounded_memory():
        message = refusal(lambda: data.load(str(dataset), root, download=False), DataError)
    assert "does not fit in memory" not in (message or "")


class Touches:
    """Unpickling this makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=True)
    return stream.getvalue()


def odd_npy(chance: random.Random, folder: Path) -> bytes:
    """A valid array of any type, one whose header lies, or a pickled one."""
    match chance.randrange(4):
        case 0:
            kind = chance.choice(("<f8", ">f2", "?", "<u2", "<U3", "S4", "<c8", "<M8[s]", "V8"))
            shape = chance.choices((0, 1, 2, 3, 5), k=chance.randrange(5))
            return npy(np.zeros(shape, kind))
        case 1:
            return npy(np.array([Touches(folder / "executed")] * 3, dtype=object))
        case _:
            shape = tuple(chance.choice((*INTEGERS, 6, 8)) for _ in range(chance.randrange(5)))
            descr = chance.choice(
                ("'|u1'", "'<f4'", "'|O'", "[('a', '<f4', 10**9)]", "'<U999999999'")
            )
            order = chance.choice((True, False))
            text = f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}"
            head = text.encode().ljust(118) + b"\n"
            return b"\x93NUMPY\x01\0" + struct.pack("<H", len(head)) + head + b"\0" * 384


@fuzz(150)
@given(randoms)
def test_npy(folder: Path, chance: random.Random) -> None:
    path = folder / "images.npy"
    make = (lambda: broken_bytes(chance, npy(PIXELS)), lambda: odd_npy(chance, folder))
    path.write_bytes(chance.choice(make)())
    images_or_one_line(path, folder)
    assert not (folder / "executed").exists()


def npz(chance: random.Random, folder: Path) -> bytes:
    """An archive of odd entries under odd names, compressed or not."""
    stream = io.BytesIO()
    kind = chance.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2))
    names = (
        "images.npy",
        "labels.npy",
        "x.npy",
        "y.npy",
        "../../outside.npy",
        "/abs.npy",
        "a\n.npy",
    )
    with zipfile.ZipFile(stream, "w", kind) as archive:
        for name in chance.sample(names, chance.randrange(1, 4)):
            odd = (lambda: npy(PIXELS), lambda: npy(np.arange(6)), lambda: odd_npy(chance, folder))
            archive.writestr(name, chance.choice(odd)())
    return stream.getvalue()


def bomb(chance: random.Random) -> bytes:
    """An entry of a few kilobytes that claims, in its header or the archive's, to be terabytes."""
    claimed = chance.choice((10**12, 2 * GIB, 2**32 - 1, 2**31))
    head = f"{{'descr': '|u1', 'fortran_order': False, 'shape': (1, 1, {claimed}), }}"
    head = head.ljust(117) + "\n"
    array = b"\x93NUMPY\x01\0" + struct.pack("<H", len(head)) + head.encode() + b"\0" * 100_000
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images.npy", array)
    content = stream.getvalue()
    real = struct.pack("<I", len(array))
    if chance.random() < 0.7:
        content = content.replace(real, struct.pack("<I", (claimed + 128) % 2**32))
    return content


@fuzz(150)
@given(randoms)
def test_npz(folder: Path, chance: random.Random) -> None:
    path = folder / "images.npz"
    content = chance.choice((lambda: npz(chance, folder), lambda: bomb(chance)))()
    path.write_bytes(broken_bytes(chance, content) if chance.random() < 0.6 else content)
    images_or_one_line(path, folder)
    assert not (folder / "executed").exists()


def idx(shape: tuple[int, ...], content: bytes) -> bytes:
    return struct.pack(f">BBBB{len(shape)}I", 0, 0, 8, len(shape), *shape) + content


IDX = {
    f"{part}-{kind}": content
    for part in ("train", "t10k")
    for kind, content in (
        ("images-idx3-ubyte", idx(PIXELS.shape, PIXELS.tobytes())),
        ("labels-idx1-ubyte", idx((6,), bytes(range(6)))),
    )
}


@fuzz(150)
@given(randoms)
def test_idx(folder: Path, chance: random.Random) -> None:
    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    for path in raw.iterdir():
        path.unlink()
    target = chance.choice(list(IDX))
    for name, content in IDX.items():
        if name == target:
            place, content = broken_idx(chance, raw / name, content)
            place.write_bytes(content)
        elif chance.random() < 0.99:
            (raw / name).write_bytes(content)
    images_or_one_line("mnist", folder)


def broken_idx(chance: random.Random, path: Path, content: bytes) -> tuple[Path, bytes]:
    """A damaged file, perhaps gzipped before or after the damage, or one with an absurd header."""
    if chance.random() < 0.4:
        shape = [chance.choice((*INTEGERS, 6, 8)) % 2**32 for _ in range(content[3])]
        content = (
            content[:4] + struct.pack(f">{len(shape)}I", *shape) + content[4 + 4 * len(shape) :]
        )
    zipped = path.with_name(f"{path.name}.gz")
    match chance.randrange(4):
        case 0:
            return path, broken_bytes(chance, content)
        case 1:
            return zipped, broken_bytes(chance, gzip.compress(content, 1))
        case 2:
            return zipped, gzip.compress(broken_bytes(chance, content), 1)
        case _:
            return path, content


def picture(chance: random.Random, kind: str) -> bytes:
    stream = io.BytesIO()
    modes = {"PNG": ("L", "RGB", "RGBA", "P", "I;16", "1"), "BMP": ("L", "RGB", "1", "P")}
    mode = chance.choice(modes.get(kind, ("L", "RGB")))
    size = chance.choice(((8, 8), (8, 8), (8, 8), (1, 1), (9, 8)))
    Image.new(mode, size).save(stream, kind)
    return stream.getvalue()


def picture_bomb(chance: random.Random) -> bytes:
    """A PNG of a few bytes that claims to have a great many pixels, checksum right."""
    side = chance.choice((20_000, 2**16, 2**31 - 1, 0, 9000))
    head = b"IHDR" + struct.pack(">IIBBBBB", side, chance.choice((side, 1)), 8, 2, 0, 0, 0)
    chunks = (head, b"IDAT" + zlib.compress(b"\0" * 30_000), b"IEND")
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
        for chunk in chunks
    )


@fuzz(100)
@given(randoms, st.sampled_from(["PNG", "JPEG", "BMP", "WEBP", "GIF"]))
def test_images(folder: Path, chance: random.Random, kind: str) -> None:
    root = folder / "pictures"
    root.mkdir(exist_ok=True)
    for path in root.iterdir():
        path.unlink()
    (root / "a.png").write_bytes(picture(chance, "PNG"))
    content = picture(chance, kind) if chance.random() < 0.8 else picture_bomb(chance)
    content = broken_bytes(chance, content) if chance.random() < 0.8 else content
    suffix = chance.choice((kind.lower(), "png", "jpg"))
    (root / f"b.{suffix}").write_bytes(content)
    match chance.randrange(12):
        case 0:
            (root / "c.png").symlink_to(
                chance.choice(("/dev/zero", "..", "c.png", "a.png", "/none"))
            )
        case 1:
            os.mkfifo(root / "c.png")
        case 2:
            (root / chance.choice(("\x1b[31m.png", "two\nlines.png", "\udcff.png"))).write_bytes(
                content
            )
    images_or_one_line(root, folder)


@pytest.mark.parametrize("count", [10**12, 2**40])
def test_a_terabyte_in_a_header_is_refused_before_it_is_allocated(
    folder: Path, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def empty(shape: Any, *args: Any, **options: Any) -> Any:
        raise AssertionError(f"allocated {shape}")

    monkeypatch.setattr("lae_fast.data.sets.np.empty", empty)
    head = f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({count}, 1, 1), }}\n"
    path = folder / "huge.npy"
    with path.open("wb") as file:
        file.write(b"\x93NUMPY\x01\0" + struct.pack("<H", len(head)) + head.encode())
        file.truncate(file.tell() + count)  # a sparse file: the bytes are even there
    with pytest.raises(DataError, match="GiB of memory"):
        data.load(str(path))
