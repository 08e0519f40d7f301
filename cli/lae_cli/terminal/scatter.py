"""A scatter plot of latents in character cells, coloured and lettered by class.

A cell of braille holds 2 x 4 dots. Where colour is missing, or braille, each cell shows the letter
of its commonest class instead, so that classes can be told apart all the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lae_cli.terminal.vocabulary import class_letter
from lae_fast.runs.plane import Points

Labels = NDArray[np.int64]
Bounds = tuple[float, float, float, float]
"""Left, right, bottom, top."""

MOST_POINTS = 4000
"""More would be one blot, and slow."""
_DOT_BITS = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]])


@dataclass(frozen=True)
class Cell:
    """One character of the plot, and the class that colours it (None: empty)."""

    text: str
    label: int | None = None
    marker: bool = False
    """Whether this is the letter at the middle of a class."""


def draw(
    points: Points,
    labels: Labels,
    width: int,
    height: int,
    *,
    braille: bool,
    colour: bool,
    bounds: Bounds | None = None,
    ring: Points | None = None,
) -> list[list[Cell]]:
    """Rows of cells, ``height`` x ``width``.

    Args:
        points: (m, 2), finite.
        labels: (m,) class of each point.
        width: characters.
        height: lines.
        braille: the terminal can show braille.
        colour: the terminal can show colour; without it, letters stand for the points.
        bounds: what is shown; points outside are left out. All of them when None.
        ring: (k, 2), a curve that is drawn where there are no points; needs ``bounds``.
    """
    empty = [[Cell(" ")] * width for _ in range(height)]
    if width <= 0 or height <= 0:
        return empty
    if bounds is not None:
        _draw_ring(empty, ring, bounds, braille=braille)
        inside = _inside(points, bounds)
        points, labels = points[inside], labels[inside]
    if len(points) == 0:
        return empty
    columns, rows = _to_dots(points, 2 * width, 4 * height, bounds)
    cells = rows // 4 * width + columns // 2
    commonest = _commonest(cells, labels)
    dots = np.zeros(width * height, dtype=np.int64)
    np.bitwise_or.at(dots, cells, _DOT_BITS[rows % 4, columns % 2])
    grid = empty
    lettered = not (braille and colour)
    for cell, label in commonest.items():
        text = class_letter(label) if lettered else chr(0x2800 + int(dots[cell]))
        grid[cell // width][cell % width] = Cell(text, label)
    if not lettered:
        _mark_middles(grid, columns // 2, rows // 4, labels)
    return grid


def _inside(points: Points, bounds: Bounds) -> NDArray[np.bool_]:
    left, right, bottom, top = bounds
    x, y = points[:, 0], points[:, 1]
    return np.asarray((x >= left) & (x <= right) & (y >= bottom) & (y <= top))


def _draw_ring(
    grid: list[list[Cell]], ring: Points | None, bounds: Bounds, *, braille: bool
) -> None:
    """Put a curve into an empty grid."""
    ring = None if ring is None else ring[_inside(ring, bounds)]
    if ring is None or len(ring) == 0:
        return
    columns, rows = _to_dots(ring, 2 * len(grid[0]), 4 * len(grid), bounds)
    dots = np.zeros((len(grid), len(grid[0])), dtype=np.int64)
    np.bitwise_or.at(dots, (rows // 4, columns // 2), _DOT_BITS[rows % 4, columns % 2])
    for row, column in np.argwhere(dots):
        text = chr(0x2800 + int(dots[row, column])) if braille else "."
        grid[row][column] = Cell(text)


def _to_dots(
    points: Points, width: int, height: int, bounds: Bounds | None = None
) -> tuple[Labels, Labels]:
    """Dot coordinates; the outermost half percent is drawn on the edge, the rest has the room."""
    if bounds is None:
        low, high = np.percentile(points, [0.5, 99.5], axis=0)
        middle, span = (low + high) / 2, np.maximum(high - low, 1e-12) * 1.04
    else:
        left, right, bottom, top = bounds
        middle = np.array([(left + right) / 2, (bottom + top) / 2])
        span = np.maximum(np.array([right - left, top - bottom]), 1e-12)
    share = np.clip((points - middle) / span + 0.5, 0.0, 1.0)
    columns = np.minimum((share[:, 0] * width).astype(np.int64), width - 1)
    rows = np.minimum(((1.0 - share[:, 1]) * height).astype(np.int64), height - 1)
    return columns, rows


def _commonest(cells: Labels, labels: Labels) -> dict[int, int]:
    """Cell -> the class with most points in it."""
    pairs, counts = np.unique(np.stack([cells, labels], axis=1), axis=0, return_counts=True)
    order = np.argsort(counts, kind="stable")
    return {int(cell): int(label) for cell, label in pairs[order]}


def _mark_middles(grid: list[list[Cell]], columns: Labels, rows: Labels, labels: Labels) -> None:
    """Put each class's letter at its median cell; a taken cell sends it to the nearest free one."""
    taken: set[tuple[int, int]] = set()
    classes, counts = np.unique(labels, return_counts=True)
    for label in classes[np.argsort(-counts, kind="stable")]:
        members = labels == label
        row, column = int(np.median(rows[members])), int(np.median(columns[members]))
        spot = _free_spot(row, column, len(grid), len(grid[0]), taken)
        if spot is not None:
            taken.add(spot)
            grid[spot[0]][spot[1]] = Cell(class_letter(int(label)), int(label), marker=True)


def _free_spot(
    row: int, column: int, height: int, width: int, taken: set[tuple[int, int]]
) -> tuple[int, int] | None:
    near = [(0, 0), (0, 1), (0, -1), (1, 0), (-1, 0), (0, 2), (0, -2), (1, 1), (-1, -1)]
    for down, right in near:
        spot = row + down, column + right
        if 0 <= spot[0] < height and 0 <= spot[1] < width and spot not in taken:
            return spot
    return None
