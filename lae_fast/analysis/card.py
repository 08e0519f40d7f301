"""A run on one card of HTML: what it is, losses, acceptance, latents, samples. No scripts."""

from __future__ import annotations

import base64
import html as escaping
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lae_fast.analysis import explore, snapshots
from lae_fast.analysis.saved import SavedRun
from lae_fast.runs.plane import Projector

_SAMPLES = 32
_PER_ROW = 8


def html(run: SavedRun, history: Sequence[Mapping[str, Any]]) -> str:
    """The card, whose picture is part of the text.

    Args:
        run: the model.
        history: the values of each epoch's `lae_fast.runs.events.Evaluated`.
    """
    rows = "".join(
        f"<tr><th style='text-align:left'>{name}</th><td style='text-align:left'>"
        f"{escaping.escape(value)}</td></tr>"
        for name, value in _facts(run, history)
    )
    picture = base64.b64encode(_picture(run, history)).decode()
    return f"<table>{rows}</table><img alt='training' src='data:image/png;base64,{picture}'>"


def _facts(run: SavedRun, history: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    config = run.config
    channels, height, width = run.image_shape
    colours = "grey" if channels == 1 else "colour"
    facts = [
        ("run", str(run.path)),
        ("model", f"{config.model}, {config.architecture}, {config.latent_dim} latents"),
        ("images", f"{Path(config.dataset).name}, {height}x{width}, {colours}"),
    ]
    if history:
        best = min(history, key=lambda row: float(row["val_loss"]))
        last = history[-1]
        facts.append(("epochs", f"{last['epoch']} in {last['elapsed']:.0f} s"))
        facts.append(
            (
                "validation loss",
                f"{best['val_loss']:.5g} nats per image (best, epoch {best['epoch']})",
            )
        )
        if math.isfinite(last["accept_rate"]):
            facts.append(("acceptance rate", f"{last['accept_rate']:.0%} in the last epoch"))
    return facts


def _picture(run: SavedRun, history: Sequence[Mapping[str, Any]]) -> bytes:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 2.8), layout="constrained")
    losses, acceptance, latents, samples = figure.subplots(1, 4)
    epochs = [row["epoch"] for row in history]
    for key, name in (("train_loss", "training"), ("val_loss", "validation")):
        losses.plot(epochs, [row[key] for row in history], label=name)
    losses.set(title="loss, nats per image", xlabel="epoch")
    losses.legend(fontsize=7)
    if run.config.has_chain:
        acceptance.plot(epochs, [row["accept_rate"] for row in history])
        acceptance.axhline(run.config.target_accept, color="grey", linewidth=0.7)
        acceptance.set_ylim(0, 1)
    acceptance.set(title="acceptance rate", xlabel="epoch")
    _draw_latents(latents, run.path, history)
    tiles = _tiled(explore.sample(run, _SAMPLES).numpy())
    samples.imshow(tiles, cmap="gray", vmin=0, vmax=255)
    samples.set(title="samples", xticks=[], yticks=[])
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=80)
    return content.getvalue()


def _draw_latents(axes: Any, path: Path, history: Sequence[Mapping[str, Any]]) -> None:
    """Latents of the newest snapshot, on their first two principal components."""
    axes.set(title="latents of validation images", xticks=[], yticks=[])
    names = [row["snapshot"] for row in history if row["snapshot"]]
    if not names:
        return
    held = snapshots.read(path, names[-1], ("latents", "labels"))
    if held is None:
        return
    latents, labels = held["latents"], held["labels"]
    numbers = latents.dtype.kind == "f" and labels.dtype.kind in "iu"
    if not numbers or latents.ndim != 2 or not latents.size or labels.shape != latents.shape[:1]:
        return
    if not np.isfinite(latents).all():
        return
    points = Projector()(latents.astype(np.float64))
    axes.scatter(*points.T, c=labels, cmap="tab10", s=4, linewidths=0)


def _tiled(images: np.ndarray[Any, np.dtype[np.uint8]]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Images ``(n, c, h, w)`` in rows of eight, one pixel apart: ``(H, W)`` or ``(H, W, 3)``."""
    framed = np.pad(images, ((0, 0), (0, 0), (0, 1), (0, 1)))
    n, channels, height, width = framed.shape
    grid = framed.reshape(n // _PER_ROW, _PER_ROW, channels, height, width)
    tiles = grid.transpose(0, 3, 1, 4, 2).reshape(n // _PER_ROW * height, -1, channels)
    return tiles[..., 0] if channels == 1 else tiles
