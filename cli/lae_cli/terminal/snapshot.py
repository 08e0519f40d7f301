"""The pictures that a trainer leaves at an evaluation."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lae_cli.terminal.images import Pixels
from lae_cli.terminal.scatter import MOST_POINTS, Labels
from lae_fast.runs.plane import Points

LARGEST_FILE = 64 << 20
"""Bytes of an array; a snapshot has far less, and a hostile one could claim any amount."""


def _no_images() -> Pixels:
    return np.zeros((0, 1, 1, 1), np.uint8)


@dataclass(frozen=True)
class Snapshot:
    """Latents (m, d) and labels (m,); images and reconstructions (k, c, h, w), k may be 0."""

    latents: Points
    labels: Labels
    originals: Pixels
    reconstructions: Pixels
    prior_samples: Pixels = field(default_factory=_no_images)
    """(k, c, h, w): images decoded from z ~ N(0, I)."""
    interpolation: Pixels = field(default_factory=_no_images)
    """(k, c, h, w): images along a line between two latents."""
    traversal: tuple[Pixels, ...] = ()
    """(k, c, h, w) for each latent dimension: images while that one varies."""


def snapshot_path(run: Path, name: str) -> Path | None:
    """The file that an event names, if it is a plain file inside the run folder."""
    try:
        path = (run / name).resolve()
        return path if path.is_relative_to(run.resolve()) and path.is_file() else None
    except (OSError, ValueError, RuntimeError):
        return None


def load_snapshot(path: Path) -> Snapshot | None:
    """Read a snapshot's .npz; None when it is missing, broken or of the wrong shape."""
    try:
        return _read(path)
    except Exception:  # zip, zlib, header, dtype: whatever is wrong, a picture is not worth a run
        return None


def _read(path: Path) -> Snapshot | None:
    with np.load(path, allow_pickle=False) as arrays:
        if any(entry.file_size > LARGEST_FILE for entry in arrays.zip.infolist()):
            return None
        latents = np.asarray(arrays["latents"], dtype=np.float64)
        labels = np.asarray(arrays["labels"]).astype(np.int64)
        originals, reconstructions = _images(arrays)
        extras = _extras(arrays)
    if latents.ndim != 2 or labels.shape != latents.shape[:1] or latents.shape[1] == 0:
        return None
    keep = np.isfinite(latents).all(axis=1)
    return Snapshot(
        latents[keep][:MOST_POINTS],
        labels[keep][:MOST_POINTS],
        originals,
        reconstructions,
        **extras,
    )


def _extras(arrays: Any) -> dict[str, Any]:
    """Pictures that not every trainer draws."""
    found: dict[str, Any] = {}
    for name in ("prior_samples", "interpolation"):
        if name in arrays and _are_images(images := arrays[name]):
            found[name] = images
    rows = arrays["traversal"] if "traversal" in arrays else np.zeros(0)
    if rows.ndim == 5 and all(_are_images(images) for images in rows):
        found["traversal"] = tuple(rows)
    return found


def _are_images(images: Any) -> bool:
    right = images.ndim == 4 and images.size > 0 and images.dtype == np.uint8
    return bool(right and images.shape[1] in (1, 3))


def _images(arrays: Any) -> tuple[Pixels, Pixels]:
    none = _no_images()
    if "originals" not in arrays or "reconstructions" not in arrays:
        return none, none
    pair = arrays["originals"], arrays["reconstructions"]
    right = pair[0].shape == pair[1].shape and all(map(_are_images, pair))
    return pair if right else (none, none)
