"""Figures for files: grids of images, scatters, curves, bars. matplotlib is imported on use.

`Figure` is used without pyplot, so no display is needed and nothing global is touched.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

SUFFIXES = (".png", ".svg", ".pdf")
Floats = NDArray[np.float64]
Row = tuple[str, Tensor]
"""A caption, and images ``(k, c, h, w)`` uint8."""


def save_rows(path: Path, rows: Sequence[Row], title: str = "") -> None:
    """Write rows of images, each with its caption on the left."""
    longest = max(len(images) for _, images in rows)
    widest = max(len(caption) for caption, _ in rows)
    margin = 0.12 + 0.09 * widest
    figure = _figure(margin + 0.6 * longest, 0.62 * len(rows) + 0.4 * bool(title), title)
    inside = margin / (margin + 0.6 * longest)
    axes = figure.subplots(len(rows), longest, squeeze=False)
    figure.subplots_adjust(inside, 0.01, 0.99, 0.99 - 0.3 * bool(title) / len(rows), 0.05, 0.05)
    for line, (caption, images) in zip(axes, rows, strict=True):
        for column, axis in enumerate(line):
            axis.set_axis_off()
            if column < len(images):
                axis.imshow(_picture(images[column]), cmap="gray", vmin=0, vmax=255)
        y = line[0].get_position()
        figure.text(inside - 0.01, (y.y0 + y.y1) / 2, caption, ha="right", va="center", size=9)
    _save(figure, path)


def save_scatter(
    path: Path,
    panels: Mapping[str, tuple[Floats, NDArray[Any]]],
    class_names: Sequence[str] = (),
) -> None:
    """Write scatters of points ``(n, 2)`` coloured by labels ``(n,)``, three panels per row."""
    across, down = min(3, len(panels)), -(-len(panels) // 3)
    figure = _figure(4.6 * across, 4.2 * down)
    axes = figure.subplots(down, across, squeeze=False).flatten()
    for axis in axes[len(panels) :]:
        axis.set_axis_off()
    for axis, (title, (points, labels)) in zip(axes, panels.items(), strict=False):
        for label in np.unique(labels):
            members = points[labels == label]
            name = class_names[int(label)] if int(label) < len(class_names) else None
            axis.scatter(*members.T, s=4, linewidths=0, color=f"C{int(label) % 10}", label=name)
        axis.set_title(title, fontsize=10)
        axis.set_aspect("equal", adjustable="datalim")
        if len(class_names) > 1:
            axis.legend(fontsize=7, markerscale=3, loc="upper right")
    figure.tight_layout()
    _save(figure, path)


def save_curves(
    path: Path,
    curves: Mapping[str, tuple[Sequence[float], Sequence[float], Sequence[float] | None]],
    *,
    x_label: str,
    y_label: str,
    log_x: bool = False,
) -> None:
    """Write curves: name -> (x, y, standard deviation of y or None)."""
    figure = _figure(6, 4)
    axis = figure.subplots()
    for name, (x, y, spread) in curves.items():
        axis.errorbar(x, y, yerr=spread, marker="o", markersize=3, capsize=2, label=name)
    if log_x:
        from matplotlib.ticker import LogFormatter

        axis.set_xscale("log")
        # Plain numbers, and between powers of ten, too, where there are few of these.
        axis.xaxis.set_major_formatter(LogFormatter())
        axis.xaxis.set_minor_formatter(LogFormatter(minor_thresholds=(2, 0.4)))
    axis.set_xlabel(x_label)
    axis.set_ylabel(y_label)
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8)
    figure.tight_layout()
    _save(figure, path)


def _figure(width: float, height: float, title: str = "") -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(max(width, 1.5), max(height, 1.0)), dpi=150)
    if title:
        figure.suptitle(title, fontsize=10)
    return figure


def _save(figure: Any, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # No date and no random ids, so that the same figure is the same file.
    import matplotlib

    with matplotlib.rc_context({"svg.hashsalt": "lae"}):
        metadata = {"Date": None} if path.suffix == ".svg" else None
        figure.savefig(path, metadata=metadata)


def _picture(image: Tensor) -> NDArray[np.uint8]:
    array = image.cpu().numpy()
    return np.asarray(array[0] if len(array) == 1 else array.transpose(1, 2, 0))
