"""The report's convolutional classifier: two convolutions with max-pooling, two linear layers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lae_fast.errors import ConfigError

LEAST_SIDE = 4
WIDE_SIDE = 16
"""From this side on, the published 5x5 convolutions without padding; below, padded 3x3 ones."""


class Dropout(nn.Module):
    """Drops a share of the entries of ``(n, d)``, or of the channels of ``(n, c, h, w)``.

    torch's CPU generator draws the masks, so that a seed trains the same classifier on every
    device. On the CPU this is `torch.nn.Dropout`, or `torch.nn.Dropout2d`, to the bit.

    Args:
        share: that is dropped in training.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.kept = 1 - share

    def forward(self, x: Tensor) -> Tensor:
        """Drop, and scale up what is left; in evaluation mode, leave ``x`` as it is."""
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
        self.features = nn.Sequential(
            nn.Conv2d(channels, 10, kernel, padding=padding), nn.MaxPool2d(2), nn.ReLU(),
            nn.Conv2d(10, 20, kernel, padding=padding), Dropout(0.5), nn.MaxPool2d(2),
            nn.ReLU(), nn.Flatten(),
        )  # fmt: skip
        with torch.no_grad():
            width = self.features(torch.zeros(1, *image_shape)).shape[1]
        self.head = nn.Sequential(
            nn.Linear(width, 50), nn.ReLU(), Dropout(0.5), nn.Linear(50, classes)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map images ``(n, c, h, w)`` in [0, 1] to log-probabilities ``(n, classes)``."""
        return torch.log_softmax(self.head(self.features(x)), 1)
