"""What every trainer shares: an iteration's order, its statistics, gradients checked before use."""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Generic, Protocol, Self, TypeVar

import torch
from torch import Tensor

from lae_fast import ops
from lae_fast.errors import TrainingError
from lae_fast.models import LAE, VAE
from lae_fast.ranks import ALONE, Ranks
from lae_fast.train.trainers.passes import Evaluator, make_encoder, make_evaluator

REMEDY = "try a lower --learning-rate or --step-size"
NOT_FINITE = f"the gradient is not finite; the weights were left as they were; {REMEDY}"

M = TypeVar("M", LAE, VAE)


@dataclass(frozen=True)
class IterationStats:
    """What one iteration did.

    Attributes:
        images: of all ranks together.
        loss: nats per image: the potential, or a VAE's negative evidence lower bound.
        grad_norm: Euclidean norm of the gradient that the optimiser follows.
        accept_rate: share of proposals taken; NaN without a chain.
        accept_prob: mean of min(1, a); NaN without a chain.
    """

    images: int
    loss: float
    grad_norm: float
    accept_rate: float = math.nan
    accept_prob: float = math.nan


class Trainer(Protocol):
    """Trains one iteration at a time; ``step_size`` may be changed between iterations."""

    step_size: float | Tensor
    kl_weight: float | Tensor
    optimizer: torch.optim.Optimizer

    @property
    def description(self) -> str:
        """Which path computes an iteration."""
        ...

    def iteration(
        self, x: Tensor, images: int | None = None, labels: Tensor | None = None
    ) -> IterationStats:
        """Learn from images ``(n, d_x)`` in [0, 1].

        Args:
            x: this rank's images.
            images: of all ranks together; ``len(x)`` when not given.
            labels: of ``x``, int64 ``(n,)``; a conditional model needs them.

        Raises:
            TrainingError: potential or gradient not finite; the weights are left as they were.
        """
        ...


class Learner(ABC, Generic[M]):
    """A trainer in two halves: gradients, which nothing waits for, then what follows from them.

    Args:
        model: what is trained.
        optimizer: over all of its parameters (phi is none of them).
        rng: the generator's state, from `lae_fast.sampling.ald.make_rng`; None where nothing is
            drawn.
        step_size: eta of the chain; NaN without a chain.
        evaluator: how the decoder is differentiated; chosen by what the decoder is when not given.
        ranks: the processes that share each batch.

    Attributes:
        step_size: eta; a float, or a float64 tensor ``(1,)`` on the device, where a captured
            iteration must find it.
        kl_weight: of the encoder's KL term, in [0, 1]; a float, or a 0-d tensor on the device.
    """

    kl_weight: float | Tensor = 1.0

    def __init__(
        self,
        model: M,
        optimizer: torch.optim.Optimizer,
        rng: Tensor | None,
        step_size: float = math.nan,
        *,
        evaluator: Evaluator | None = None,
        ranks: Ranks = ALONE,
    ) -> None:
        self.model: M = model
        self.optimizer, self.rng, self.ranks = optimizer, rng, ranks
        self.step_size: float | Tensor = step_size
        self.evaluator = evaluator or make_evaluator(model.decoder, model.likelihood)
        self.encoder = make_encoder(model.encoder)

    @property
    def description(self) -> str:
        """Which path computes an iteration."""
        return self.evaluator.description

    @abstractmethod
    def compute_gradients(self, x: Tensor, images: int) -> tuple[Tensor | None, Tensor]:
        """Leave an iteration's gradients on the weights; nothing waits for the device.

        Returns:
            The phi to go on from, where there is one, and the statistics from `pack_stats`.
        """

    def iteration(
        self, x: Tensor, images: int | None = None, labels: Tensor | None = None
    ) -> IterationStats:
        images = len(x) if images is None else images
        learner = self if labels is None else self.given(labels)
        phi, packed = learner.compute_gradients(x, images)
        stats = read_stats(packed, images)
        self.optimizer.step()
        if phi is not None and isinstance(self.model, LAE):
            self.model.phi.copy_(phi)
        return stats

    def given(self, labels: Tensor) -> Self:
        """The same learner for images with these labels; itself if the model is unconditional."""
        model = self.model.given(labels)
        if model is self.model:
            return self
        view = copy.copy(self)
        view.model = model
        view.evaluator = make_evaluator(model.decoder, model.likelihood)
        view.encoder = make_encoder(model.encoder)
        return view


def pack_stats(norm: Tensor, sums: Tensor, check: Tensor | None = None) -> Tensor:
    """An iteration's statistics in one float64 tensor, for `read_stats`.

    Args:
        norm: of the gradient.
        sums: over the batch's images: the potential and, with a chain, acceptance probability and
            acceptance.
        check: finite if the features could be whitened.
    """
    parts = (norm, torch.zeros_like(norm) if check is None else check, sums)
    return torch.cat([part.double().reshape(-1) for part in parts])


def read_stats(packed: Tensor, images: int) -> IterationStats:
    """The statistics of an iteration; the one place that waits for the device.

    Raises:
        TrainingError: its gradients must not be followed.
    """
    norm, check, *sums = packed.tolist()
    if not all(map(math.isfinite, (norm, check, sums[0]))):
        raise TrainingError(_reason(check, sums[0]))
    no_chain = [math.nan] * (3 - len(sums))
    loss, accept_prob, accept_rate = [value / images for value in sums] + no_chain
    return IterationStats(images, loss, norm, accept_rate, accept_prob)


def _reason(check: float, potential: float) -> str:
    if not math.isfinite(check):
        return f"cannot whiten: the encoder's features are all zero or not finite; {REMEDY}"
    if not math.isfinite(potential):
        return f"the potential is not finite; the weights were left as they were; {REMEDY}"
    return NOT_FINITE


def standard_normal(shape: tuple[int, int], like: Tensor, rng: Tensor, first_row: int) -> Tensor:
    """Standard normal rows from ``first_row`` of the batch on; the generator moves on.

    It is the noise of a chain's proposal: from 0, with step size 1/2, a proposal is its noise.
    """
    zero = like.new_zeros(shape)
    half = torch.full((1,), 0.5, dtype=torch.float64, device=like.device)
    noise = ops.propose_rows(zero, zero, rng, half, 1.0, first_row)
    rng[1] += 1
    return noise


def sum_grads(optimizer: torch.optim.Optimizer, ranks: Ranks, *others: Tensor) -> Tensor:
    """Sum the gradients over ranks; their Euclidean norm.

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
