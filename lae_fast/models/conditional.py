"""Class-conditional networks: p(x | z, y) and encoders that see y (Sohn et al. 2015)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Conditioned(nn.Module):
    """A network on its input and the one-hot label, which `given` sets.

    Args:
        network: takes ``(n, d + classes * planes)``.
        classes: number of classes.
        planes: how often each class's indicator is repeated. The number of pixels turns labels
            into image planes for a convolution.
        labels: int64, ``(k,)``; None until `given` sets them.
    """

    def __init__(
        self, network: nn.Module, classes: int, planes: int = 1, labels: Tensor | None = None
    ) -> None:
        super().__init__()
        self.network, self.classes, self.planes, self.labels = network, classes, planes, labels

    def given(self, labels: Tensor) -> Conditioned:
        """The same network, with the same weights, at these labels."""
        return Conditioned(self.network, self.classes, self.planes, labels)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the network to ``(n, d)``, n a multiple of the number of labels.

        Raises:
            RuntimeError: no labels were given, or their number does not divide n.
        """
        one_hot = F.one_hot(self._of_rows(x), self.classes).to(x.dtype)
        planes = one_hot.repeat_interleave(self.planes, dim=1)
        result: Tensor = self.network(torch.cat([x, planes], 1))
        return result

    def _of_rows(self, x: Tensor) -> Tensor:
        if self.labels is None:
            raise RuntimeError("a conditional model needs labels; use model.given(labels)")
        copies, rest = divmod(len(x), max(1, len(self.labels)))
        if rest:
            raise RuntimeError(
                f"a conditional model was given {len(self.labels)} labels for {len(x)} rows; "
                "give one label per row"
            )
        return self.labels.to(x.device).repeat(copies)
