"""Arrays of one's own: every layout, and every way a file can be wrong."""

from __future__ import annotations

import pickle
import struct
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

from helpers.data_cases import gradient, npy_bytes, refused, same_images
from lae_fast.data import load


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
        (np.full((4, 2, 2), np.inf), "holds infinite numbers; replace them"),
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
