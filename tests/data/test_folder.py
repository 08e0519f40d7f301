"""Folders of images."""

from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from helpers.data_cases import gradient, png_bytes, refused, same_images, whole
from lae_fast.data import load
from lae_fast.errors import MixedSizesError


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
    with refused("holds images of 2 sizes: 5x4 (3), 9x3 (1)", "Add --image-size 3") as caught:
        load(str(tmp_path))
    assert isinstance(caught.value, MixedSizesError)
    assert caught.value.suggested == 3
    assert load(str(tmp_path), image_size=4).train.image_shape == (1, 4, 4)


def test_folder_is_scaled_and_cropped_about_the_centre(tmp_path: Path) -> None:
    wide = np.zeros((10, 30), np.uint8)
    wide[:, 5:25] = 200  # more than a square about the centre holds
    save(tmp_path / "wide.png", wide)
    save(tmp_path / "tall.png", wide.T)
    assert whole(load(str(tmp_path), image_size=5)).unique().tolist() == [200]


def test_folder_lays_what_is_transparent_on_white(tmp_path: Path) -> None:
    for i, (colour, alpha) in enumerate(((40, 0), (40, 255), (0, 128))):
        pixels = np.full((4, 4, 4), colour, np.uint8)
        pixels[..., 3] = alpha
        save(tmp_path / f"{i}.png", pixels)
    images = whole(load(str(tmp_path)))
    assert images.shape == (3, 3, 4, 4)
    assert sorted(image.unique().item() for image in images) == [40, 127, 255]
    for path in tmp_path.iterdir():
        path.unlink()
    grey = Image.fromarray(np.full((4, 4), 9, np.uint8)).convert("LA")
    grey.putalpha(0)
    palette = Image.fromarray(np.full((4, 4), 3, np.uint8)).convert("P")
    palette.putpalette([0, 0, 0] * 4)
    for i in range(2):
        grey.save(tmp_path / f"{i}.png")
    assert whole(load(str(tmp_path))).unique().tolist() == [255]
    palette.save(tmp_path / "3.png", transparency=3)
    assert whole(load(str(tmp_path))).unique().tolist() == [255]


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
