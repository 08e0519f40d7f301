"""Small networks of a user's own, and images for them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

LATENTS = 2
SHORT: dict[str, Any] = {
    "latent_dim": LATENTS,
    "epochs": 2,
    "batch_size": 16,
    "device": "cpu",
    "checkpoint_interval": 0.0,
    "progress": False,
}
"""What a training of a second takes."""


def encoder(width: int = 6) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, 2, 1), nn.GroupNorm(1, 4), nn.SiLU(), nn.Flatten(), nn.Linear(36, width)
    )


def decoder() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(LATENTS, 16), nn.ReLU(), nn.Linear(16, 36))


def images(n: int = 60) -> np.ndarray[Any, Any]:
    """Random floats in [0, 1], ``(n, 6, 6)``."""
    return np.random.default_rng(0).random((n, 6, 6), dtype=np.float32)
