"""What every trainer shares: the statistics of an iteration, and gradients checked before use."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from lae_fast.ranks import ALONE, Ranks
from lae_fast.train.errors import TrainingError

REMEDY = "try a lower --learning-rate or --step-size"
NOT_FINITE = f"the gradient is not finite; the weights were left as they were; {REMEDY}"


@dataclass(frozen=True)
class IterationStats:
    """What one iteration did. Losses are nats an image; acceptance is NaN without a chain."""

    images: int
    loss: float
    grad_norm: float
    accept_rate: float = math.nan
    accept_prob: float = math.nan


class Trainer(Protocol):
    """One iteration at a time; ``step_size`` may be changed between iterations."""

    step_size: float
    optimizer: torch.optim.Optimizer

    @property
    def description(self) -> str:
        """Which path computes an iteration."""
        ...

    def iteration(self, x: Tensor, images: int | None = None) -> IterationStats:
        """Learn from images ``(n, d_x)`` in [0, 1].

        Args:
            x: this rank's images.
            images: of all ranks together; ``len(x)`` when not given.

        Raises:
            TrainingError: potential or gradient not finite; the weights are left as they were.
        """
        ...


def sum_grads(optimizer: torch.optim.Optimizer, ranks: Ranks, *others: Tensor) -> Tensor:
    """Sum gradients over ranks; the Euclidean norm of what the optimiser is about to follow.

    ``others`` are summed in the same message.
    """
    grads = [
        parameter.grad
        for group in optimizer.param_groups
        for parameter in group["params"]
        if parameter.grad is not None
    ]
    ranks.sum_(*grads, *others)
    return torch.nn.utils.get_total_norm(grads)


def summed_grad_norm(
    optimizer: torch.optim.Optimizer, ranks: Ranks = ALONE, *others: Tensor
) -> float:
    """`sum_grads` as a number, which waits for the device.

    Raises:
        TrainingError: it is not finite.
    """
    norm = float(sum_grads(optimizer, ranks, *others))
    if not math.isfinite(norm):
        raise TrainingError(NOT_FINITE)
    return norm
