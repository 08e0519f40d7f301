"""Latents in the plane, for every picture of them. Torch-free."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]


class Projector:
    """Latents (m, d) to the plane (m, 2): as they are for d = 2, else by principal components.

    Principal axes are free to turn and flip; each projection is rotated onto the previous one
    (orthogonal Procrustes), so that successive pictures can be compared.

    Attributes:
        origin: where the prior's mean, z = 0, falls in the last projection, (2,).
        explained: the share of the variance that the last projection shows.
    """

    def __init__(self) -> None:
        self._previous: Points | None = None
        self.origin: Points = np.zeros(2)
        self.explained = 1.0

    def __call__(self, latents: Points) -> Points:
        """Project, and remember the result for the next alignment."""
        self.origin, self.explained = np.zeros(2), 1.0
        if not len(latents):
            return np.zeros((0, 2))
        if latents.shape[1] <= 2:
            return _pad(latents)
        mean = latents.mean(axis=0)
        _, spread, axes = np.linalg.svd(latents - mean, full_matrices=False)
        axes = axes[:2].T
        points: Points = (latents - mean) @ axes
        if points.shape[1] < 2:
            return _pad(points)
        if self._previous is not None and self._previous.shape == points.shape:
            left, _, right = np.linalg.svd(points.T @ self._previous)
            points, axes = points @ left @ right, axes @ left @ right
        self._previous, self.origin = points, -mean @ axes
        self.explained = float((spread[:2] ** 2).sum() / max((spread**2).sum(), 1e-300))
        return points


def _pad(points: Points) -> Points:
    """One latent dimension: spread over the second axis by rank order, which is no information."""
    if points.shape[1] == 2:
        return points
    spread = np.linspace(-1.0, 1.0, len(points))[:, None] if len(points) > 1 else points[:, :1] * 0
    return np.concatenate([points[:, :1], spread], axis=1)
