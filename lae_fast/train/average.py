"""An exponential moving average of the weights, which is what is validated and kept."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from lae_fast.models import Model


class Average:
    """Averages a model's weights over the iterations of its training (Polyak and Juditsky 1992).

    The last iterates of stochastic gradients and of the chain's phi wander about a point; their
    average lies nearer to it, and its validation loss is less noisy.

    Args:
        trained: the model that the trainer changes.
        decay: weight of the past per iteration; 0 takes the trained weights themselves. The first
            iterations use ``(1 + t) / (10 + t)`` where that is smaller, so that the weights of the
            start are soon forgotten.

    Attributes:
        model: a model with the averaged weights; ``trained`` itself without averaging.
    """

    def __init__(self, trained: Model, decay: float) -> None:
        self.decay = decay
        self.model: Model = copy.deepcopy(trained).requires_grad_(False) if decay else trained
        self._trained, self._averaged = _floats(trained), _floats(self.model)

    @torch.no_grad()
    def update(self, iteration: int) -> None:
        """Take in the weights after ``iteration``, which counts from 0."""
        if not self.decay:
            return
        decay = min(self.decay, (1 + iteration) / (10 + iteration))
        torch._foreach_lerp_(self._averaged, self._trained, 1 - decay)

    def tensors(self) -> dict[str, Tensor]:
        """The averaged weights by name; nothing without averaging."""
        return self.model.state_dict() if self.decay else {}


def _floats(model: Model) -> list[Tensor]:
    return [value for value in model.state_dict().values() if value.is_floating_point()]
