"""An iteration as one CUDA graph: its hundreds of small kernels launched by one call.

At the sizes of Taniguchi et al. 2022 and Bisht 2023 a GPU waits for launches, not for arithmetic.
Everything that an iteration needs stays in place (weights, phi, moments, counter, step sizes),
nothing in it waits for the device, and a gradient that is not finite is dropped on the device as
the optimiser and phi would drop it here; the statistics are read once, after the replay.
"""

from __future__ import annotations

import contextlib
import copy
import os
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from lae_fast.models import Model
from lae_fast.train.trainers.base import IterationStats, Learner, read_stats
from lae_fast.train.trainers.passes import ExplicitEncoder, ExplicitEvaluator, make_encoder

OFF = "LAE_CUDA_GRAPH"
"""Environment variable: 0 runs every kernel by itself."""
WARM_UP = 3
"""Iterations before the capture, in which libraries choose their kernels and moments are made."""


class GraphedTrainer:
    """A trainer whose iterations on full batches are replayed from one graph.

    Batches of another size, and everything after a capture that failed, run kernel by kernel.

    Args:
        eager: the trainer.
    """

    def __init__(self, eager: Learner[Any]) -> None:
        self.eager = eager
        self.optimizer, self.rng = eager.optimizer, eager.rng
        self.trouble = why_not(eager)
        self._replay: Callable[[Tensor, float, float], Tensor] | None = None
        self._images = 0  # of a full batch: the largest seen
        self._seen = 0

    @property
    def model(self) -> Model:
        """The model."""
        model: Model = self.eager.model
        return model

    @property
    def step_size(self) -> float | Tensor:
        """Eta, as in `Learner`."""
        return self.eager.step_size

    @step_size.setter
    def step_size(self, value: float | Tensor) -> None:
        self.eager.step_size = value

    @property
    def kl_weight(self) -> float | Tensor:
        """Weight of the KL term, as in `Learner`."""
        return self.eager.kl_weight

    @kl_weight.setter
    def kl_weight(self, value: float | Tensor) -> None:
        self.eager.kl_weight = value

    @property
    def description(self) -> str:
        """How an iteration is computed."""
        if self.trouble is not None:
            return f"{self.eager.description}, no CUDA graph: {self.trouble}"
        return f"{self.eager.description}, CUDA graph"

    def iteration(
        self, x: Tensor, images: int | None = None, labels: Tensor | None = None
    ) -> IterationStats:
        if self._replay is None and self.trouble is None:
            self._images = max(self._images, len(x))
            if self._seen >= WARM_UP and len(x) == self._images:
                self._try_capture(x)
        self._seen += 1
        if self._replay is None or len(x) != self._images:
            return self.eager.iteration(x, images, labels)
        return read_stats(self._replay(x, float(self.step_size), float(self.kl_weight)), len(x))

    def _try_capture(self, x: Tensor) -> None:
        try:
            self._replay = capture(self.eager, x)
        except RuntimeError as error:
            self.trouble = str(error).splitlines()[0]


def why_not(trainer: Learner[Any]) -> str | None:
    """Why an iteration cannot become a graph, or None if no obstacle is known."""
    if os.environ.get(OFF) == "0":
        return f"{OFF} is 0"
    if not trainer.ranks.alone:
        return "several processes"
    explicit = isinstance(trainer.evaluator, ExplicitEvaluator) and isinstance(
        trainer.encoder, ExplicitEncoder
    )
    return None if explicit else "the networks run through autograd"


def capture(trainer: Learner[Any], x: Tensor) -> Callable[[Tensor, float, float], Tensor]:
    """Record an iteration on images like ``x``.

    Returns:
        What replays it, given images, step size and weight of the KL term, and returns its packed
        statistics.

    Raises:
        RuntimeError: something in it cannot be captured.
    """
    # A trainer of its own, whose buffers nobody else uses or frees.
    own = copy.copy(trainer)
    assert isinstance(trainer.evaluator, ExplicitEvaluator)
    own.evaluator = trainer.evaluator.fresh()
    own.encoder = make_encoder(trainer.model.encoder)
    own_step_size, own_kl_weight = read_from_device(own, x.device)
    images = x.clone()
    _warm_up(own, images)
    graph = torch.cuda.CUDAGraph()
    with _as_before_if_it_fails() as pool, torch.cuda.graph(graph, pool=pool):
        packed = guarded_iteration(own, images)

    def replay(x: Tensor, step_size: float, weight: float) -> Tensor:
        images.copy_(x)
        own_step_size.fill_(step_size)
        own_kl_weight.fill_(weight)
        graph.replay()
        return packed

    return replay


def read_from_device(trainer: Learner[Any], device: torch.device) -> tuple[Tensor, Tensor]:
    """Let a trainer read its step size and KL weight from tensors on the device; returns them."""
    step_size = torch.full((1,), float(trainer.step_size), dtype=torch.float64, device=device)
    kl_weight = torch.full((), float(trainer.kl_weight), device=device)
    trainer.step_size, trainer.kl_weight = step_size, kl_weight
    return step_size, kl_weight


def _warm_up(trainer: Learner[Any], x: Tensor) -> None:
    """Run what will be captured once, on a stream of its own, and change nothing by it.

    Libraries load their kernels and take their memory at the first call, which a capture forbids.
    """
    here, stream = torch.cuda.current_stream(), torch.cuda.Stream()  # type: ignore[no-untyped-call]
    before = None if trainer.rng is None else trainer.rng.clone()
    stream.wait_stream(here)
    try:
        with torch.cuda.stream(stream):
            guarded_iteration(trainer, x, follow=False)
    finally:
        here.wait_stream(stream)
        if trainer.rng is not None and before is not None:
            trainer.rng.copy_(before)


@contextlib.contextmanager
def _as_before_if_it_fails() -> Iterator[Any]:
    """A memory pool for a capture; where that fails, its stream and its pool are left.

    PyTorch stays on the capture's stream when the end of a capture raises (2.14), or goes on to
    allocate from its pool (before).
    """
    here, pool = torch.cuda.current_stream(), torch.cuda.graph_pool_handle()
    try:
        yield pool
    except BaseException:
        torch.cuda.set_stream(here)
        torch.cuda.synchronize()
        end = getattr(torch._C, "_cuda_endAllocateToPool", None)
        if end is not None:
            with contextlib.suppress(RuntimeError):  # it had ended
                end(torch.cuda.current_device(), pool)
        raise


def guarded_iteration(trainer: Learner[Any], x: Tensor, *, follow: bool = True) -> Tensor:
    """`Learner.iteration` without a look from the host; what `read_stats` understands.

    The optimiser must be PyTorch's fused Adam, which leaves weights and moments alone where its
    ``found_inf`` is 1. With ``follow`` false they are left alone in any case, and phi too.
    """
    phi, packed = trainer.compute_gradients(x, len(x))
    good = packed[:3].isfinite().all()
    good = good if follow else good & False
    optimizer = trainer.optimizer
    optimizer.found_inf = (~good).float()  # type: ignore[attr-defined]
    try:
        optimizer.step()
    finally:
        del optimizer.found_inf  # type: ignore[attr-defined]
    if phi is not None:
        trainer.model.phi.copy_(torch.where(good, phi, trainer.model.phi))
    return packed
