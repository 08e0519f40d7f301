"""Images whose classes are known to be there."""

from __future__ import annotations

import torch

from lae_fast.data import ImageSet

NAMES = ("a", "b", "c")


def bright_images(n: int = 300) -> ImageSet:
    """Three classes of images, told apart by which pixel is bright."""
    labels = torch.arange(n) % 3
    images = torch.randint(0, 60, (n, 1, 1, 3), dtype=torch.uint8, generator=torch.Generator())
    images[torch.arange(n), 0, 0, labels] = 255
    return ImageSet(images, labels, NAMES)
