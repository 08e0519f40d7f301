"""A small convolutional classifier (Bisht 2023): two convolutions with max-pooling, two Linears."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lae_fast.errors import ConfigError

LEAST_SIDE = 4
"""Pixels; smaller images are refused."""
WIDE_SIDE = 16
"""Pixels: 5x5 convolutions without padding from this side on, padded 3x3 ones below it."""


class Dropout(nn.Module):
    """Drops a share of the entries of ``(n, d)``, or of the channels of ``(n, c, h, w)``.

    torch's CPU generator draws the masks, so that a seed trains the same classifier on every
    device. On the CPU this equals `torch.nn.Dropout` or `torch.nn.Dropout2d` bit for bit.

    Args:
        share: how much is dropped in training, in [0, 1).
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.kept = 1 - share

    def forward(self, x: Tensor) -> Tensor:
        """Drop, and scale the rest up; return ``x`` unchanged in evaluation mode."""
        if not self.training:
            return x
        shape = x.shape[:2] + (1,) * (x.ndim - 2)
        mask = torch.empty(shape, dtype=x.dtype).bernoulli_(self.kept).div_(self.kept)
        return x * mask.to(x.device)


class ConvClassifier(nn.Module):
    """Log-probabilities of the classes; 21,840 parameters for 28x28 grey images and 10 classes.

    Args:
        image_shape: channels, height, width; each side at least 4.
        classes: number of classes.

    Raises:
        ConfigError: the images are too small.
    """

    def __init__(self, image_shape: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        channels, *sides = image_shape
        if min(sides) < LEAST_SIDE:
            raise ConfigError(
                f"the classifier needs images of at least {LEAST_SIDE}x{LEAST_SIDE} pixels, not "
                f"{sides[0]}x{sides[1]}"
            )
        kernel, padding = (5, 0) if min(sides) >= WIDE_SIDE else (3, 1)
        first = nn.Conv2d(channels, 10, kernel, padding=padding)
        second = nn.Conv2d(10, 20, kernel, padding=padding)
        stages = (first, nn.MaxPool2d(2), nn.ReLU(), second, Dropout(0.5), nn.MaxPool2d(2))
        self.features = nn.Sequential(*stages, nn.ReLU(), nn.Flatten())
        with torch.no_grad():
            width = self.features(torch.zeros(1, *image_shape)).shape[1]
        self.head = nn.Sequential(
            nn.Linear(width, 50), nn.ReLU(), Dropout(0.5), nn.Linear(50, classes)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map images ``(n, c, h, w)`` in [0, 1] to log-probabilities ``(n, classes)``."""
        return torch.log_softmax(self.head(self.features(x)), 1)
