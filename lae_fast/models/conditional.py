"""Class-conditional networks: p(x | z, y) and encoders that see y (Sohn et al. 2015).

A `Conditioned` network appends the one-hot label to its input. Which label is a state of the model,
set by `condition` before a batch, so that trainers, samplers and evaluations that know nothing of
labels work on conditional models as they are: at given labels, they are models like any other.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Conditioned(nn.Module):
    """A network on its input and the one-hot label.

    Args:
        network: takes ``(n, d + classes planes)``.
        classes: number of classes.
        planes: entries that each class's indicator fills; the number of pixels turns labels into
            image planes for a convolution.
    """

    def __init__(self, network: nn.Module, classes: int, planes: int = 1) -> None:
        super().__init__()
        self.network, self.classes, self.planes = network, classes, planes
        # Whatever the default device: saved models are built on meta and given weights alone.
        self.labels = torch.zeros(1, dtype=torch.int64, device="cpu")
        """Row i of the input takes label i, modulo their number."""

    def forward(self, x: Tensor) -> Tensor:
        """Apply the network to ``(n, d)`` and the labels set by `condition`."""
        labels = self.labels.to(x.device)
        rows = labels[torch.arange(len(x), device=x.device) % len(labels)]
        one_hot = F.one_hot(rows, self.classes).to(x.dtype)
        result: Tensor = self.network(
            torch.cat([x, one_hot.repeat_interleave(self.planes, dim=1)], 1)
        )
        return result


def condition(model: nn.Module, labels: Tensor) -> None:
    """Set the labels of the rows that ``model`` will see; nothing for an unconditional model.

    Args:
        model: any model.
        labels: int64, ``(n,)``, n at least 1. Inputs with more rows take them in rotation: chains
            stacked one set of images after another see each image's own label.
    """
    for module in model.modules():
        if isinstance(module, Conditioned):
            module.labels = labels
