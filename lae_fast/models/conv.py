"""Convolutional encoder body and decoder, for images of any size and number of channels.

Each stage halves both sides (rounding up) by a strided convolution. The decoder mirrors the stages
and arrives at the exact image size. Normalisation is per image (a group norm of one group): with
batch statistics an image's potential would depend on the rest of the batch, and the image would
have no posterior to sample.
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F

from lae_fast.errors import ConfigError
from lae_fast.models.mlp import MLP

CHANNELS = (16, 32, 64)
LEAST_SIDE = 4
"""Pixels. Smaller images are refused, and stages end before a side gets smaller."""

Shape = tuple[int, int, int]
"""Channels, height, width."""


def stage_shapes(image_shape: Shape) -> list[Shape]:
    """The shapes between the stages; the first is the image's.

    Raises:
        ConfigError: the images are too small.
    """
    _, height, width = image_shape
    if min(height, width) < LEAST_SIDE:
        raise ConfigError(
            f"convolutional networks need images of at least {LEAST_SIDE}x{LEAST_SIDE} pixels, "
            f"not {height}x{width}; use --architecture mlp"
        )
    shapes = [image_shape]
    for channels in CHANNELS:
        if min(height, width) < LEAST_SIDE:
            break
        height, width = -(-height // 2), -(-width // 2)
        shapes.append((channels, height, width))
    return shapes


class ConvEncoder(nn.Module):
    """Maps flat images ``(n, c h w)`` to ``(n, hidden)``, or to ``(n, d_out)`` if given.

    Args:
        image_shape: channels, height, width.
        hidden: width of the fully connected block on top.
        d_out: output width, or None to end on the fully connected block.
    """

    def __init__(self, image_shape: Shape, hidden: int, d_out: int | None) -> None:
        super().__init__()
        self.image_shape = image_shape
        shapes = stage_shapes(image_shape)
        self.stages = nn.Sequential(*(_down(a[0], b[0]) for a, b in pairwise(shapes)))
        channels, height, width = shapes[-1]
        self.head = MLP(channels * height * width, hidden, d_out, depth=1)

    def forward(self, x: Tensor) -> Tensor:
        maps: Tensor = self.stages(x.view(-1, *self.image_shape))
        features: Tensor = self.head(maps.flatten(1))
        return features


class ConvDecoder(nn.Module):
    """Maps latents ``(n, d_in)`` to the likelihood's parameters ``(n, c h w)``.

    Args:
        d_in: width of the latents.
        hidden: width of the fully connected block before the stages.
        image_shape: channels, height, width.
    """

    def __init__(self, d_in: int, hidden: int, image_shape: Shape) -> None:
        super().__init__()
        shapes = stage_shapes(image_shape)[::-1]
        self.start = shapes[0]
        channels, height, width = self.start
        self.head = MLP(d_in, hidden, channels * height * width, depth=1)
        stages: list[nn.Module] = [_up(a, b) for a, b in pairwise(shapes[:-1])]
        self.stages = nn.Sequential(*stages, _transposed(shapes[-2], shapes[-1]))

    def forward(self, z: Tensor) -> Tensor:
        maps: Tensor = F.relu(self.head(z)).view(-1, *self.start)
        images: Tensor = self.stages(maps)
        return images.flatten(1)


def _down(d_in: int, d_out: int) -> nn.Module:
    convolution = nn.Conv2d(d_in, d_out, 3, stride=2, padding=1)
    return nn.Sequential(convolution, nn.GroupNorm(1, d_out), nn.ReLU())


def _up(small: Shape, large: Shape) -> nn.Module:
    return nn.Sequential(_transposed(small, large), nn.GroupNorm(1, large[0]), nn.ReLU())


def _transposed(small: Shape, large: Shape) -> nn.Module:
    # Doubles even sides; an odd one becomes twice the small one less the pixel that rounding added.
    even = (1 - large[1] % 2, 1 - large[2] % 2)
    return nn.ConvTranspose2d(small[0], large[0], 3, stride=2, padding=1, output_padding=even)
