"""Small images in character cells: two pixels per cell, one above the other, by half blocks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
"""(height, width, 3), red, green, blue."""

GAP = 72
"""Grey level between two images: apart from black and from white ones."""
LEAST_HEIGHT = 8
"""Pixels; a lower image shows nothing recognisable."""


def strips(originals: Pixels, reconstructions: Pixels, width: int, rows: int) -> list[Pixels]:
    """Images above their reconstructions, as two strips of pixels of even height.

    Args:
        originals: (k, c, h, w) uint8, c = 1 or 3.
        reconstructions: the same.
        width: characters there are across.
        rows: lines there are for both together.

    Returns:
        Two pictures to be shown one under the other, or [] when there is no room.
    """
    height = rows // 2 * 2
    if len(originals) == 0 or height < LEAST_HEIGHT:
        return []
    found = [strip(images, width, height) for images in (originals, reconstructions)]
    return found if all(picture.size for picture in found) else []


def shades(pixels: Pixels, ramp: str) -> list[str]:
    """A picture without colour: one line of ``ramp`` (dark to light) per two pixel rows."""
    grey = pixels.astype(np.float64).mean(axis=2)
    grey = np.pad(grey, ((0, grey.shape[0] % 2), (0, 0)))
    cells = grey.reshape(-1, 2, grey.shape[1]).mean(axis=1)
    levels = np.minimum((cells / 256 * len(ramp)).astype(np.int64), len(ramp) - 1)
    return ["".join(ramp[level] for level in row) for row in levels]


def strip(images: Pixels, width: int, height: int) -> Pixels:
    """Images (k, c, h, w) side by side, as many as fit ``width``, a grey column between them.

    Returns:
        (height, width, 3), or no pixels if not even one image fits.
    """
    small = [_fit(_rgb(image), height) for image in images]
    each = small[0].shape[1] + 1
    gap = ((0, 0), (0, 1), (0, 0))
    small = [np.pad(image, gap, constant_values=GAP) for image in small[: (width + 1) // each]]
    if not small:
        return np.zeros((0, 0, 3), np.uint8)
    picture = np.concatenate(small, axis=1)[:, :-1]
    return np.pad(picture, ((0, picture.shape[0] % 2), (0, 0), (0, 0)))


def _rgb(image: Pixels) -> Pixels:
    channels = image if image.shape[0] == 3 else np.repeat(image[:1], 3, axis=0)
    return channels.transpose(1, 2, 0)


def _fit(image: Pixels, height: int) -> Pixels:
    """Shrink to ``height`` by means, or enlarge by a whole factor that fits."""
    if image.shape[0] <= height:
        factor = height // image.shape[0]
        return image.repeat(factor, axis=0).repeat(factor, axis=1)
    width = max(1, round(image.shape[1] * height / image.shape[0]))
    shrunk = image.astype(np.float64)
    for axis, size in ((0, height), (1, width)):
        edges = np.linspace(0, image.shape[axis], size + 1).round().astype(np.int64)
        counts = np.diff(edges).reshape([-1 if a == axis else 1 for a in range(3)])
        shrunk = np.add.reduceat(shrunk, edges[:-1], axis=axis) / np.maximum(counts, 1)
    return shrunk.clip(0, 255).astype(np.uint8)


def stack(strips: Sequence[Pixels]) -> tuple[Pixels, list[int]]:
    """Strips (height, width, 3) below each other, a grey row between them.

    Returns:
        The picture, of even height, and how much of each two pixel rows a strip covers.
    """
    width = max(strip.shape[1] for strip in strips)
    rows, covered = [], []
    for strip in strips:
        gap = np.pad(strip, ((0, 1), (0, 0), (0, 0)), constant_values=GAP)
        rows.append(np.pad(gap, ((0, 0), (0, width - strip.shape[1]), (0, 0))))
        covered += [strip.shape[1]] * len(gap)
    picture = np.concatenate(rows)[:-1]
    picture = np.pad(picture, ((0, picture.shape[0] % 2), (0, 0), (0, 0)))
    return picture, [max(covered[k : k + 2]) for k in range(0, len(picture), 2)]
