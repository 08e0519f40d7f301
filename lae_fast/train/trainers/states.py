"""The states that a chain passes on one batch, and the decoder's gradients at them.

The decoder follows the gradient of ``1/T sum_t -log p(x | z_t)`` over the T states after each step.
On a CPU a state's weight gradients are added as it is reached, or, where the whole batch decides
at once, when it is left: the products of a rejected proposal are spared. On a GPU, where launches
are what is waited for, up to `TOGETHER` states lie side by side in memory, and one product per
layer takes the gradients of them all. Memory does not grow with T.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from lae_fast.train.trainers.passes import Evaluation, Evaluator, ExplicitEvaluator, merge_rows

TOGETHER = 16
"""States whose products wait for each other."""


class States(Protocol):
    """Evaluates proposals, and counts the states that are kept."""

    def evaluate(self, z: Tensor, *, prior: bool = False) -> Evaluation:
        """Value and z-gradient at the proposals ``z`` ``(n, d_z)``.

        With ``prior``, the gradient, and only that, includes the one of ``||z||^2 / 2``.
        """
        ...

    def next_input(self) -> Tensor | None:
        """Where the proposals after those just evaluated may be written, to save a copy."""
        ...

    def begin(self) -> None:
        """Take the proposals just evaluated for the start, which does not count."""
        ...

    def retain(self, moved: Tensor) -> Evaluation:
        """Count the state after a step, and return what is known of it.

        Args:
            moved: which images took their proposals, bool ``(n,)``, or ``(1,)`` for all of them.
        """
        ...

    def close(self) -> None:
        """Add what is left to the weights' gradients."""
        ...


class OneByOne:
    """Adds each state's weight gradients at once."""

    def __init__(self, evaluator: Evaluator, x: Tensor, share: float) -> None:
        self.evaluator, self.x, self.share = evaluator, x, share
        self._pending: Evaluation | None = None
        self._current: Evaluation | None = None

    def evaluate(self, z: Tensor, *, prior: bool = False) -> Evaluation:
        self._pending = self.evaluator.evaluate(self.x, z)
        if prior:
            self._pending.grad_z.add_(z)
        return self._pending

    def next_input(self) -> None:
        """Nowhere: the evaluator copies its input."""

    def begin(self) -> None:
        self._current, self._pending = self._pending, None

    def retain(self, moved: Tensor) -> Evaluation:
        assert self._current is not None
        assert self._pending is not None
        self._current = self.evaluator.merge(self._current, self._pending, moved)
        self._pending = None
        self.evaluator.add_weight_grads(self._current, self.share)
        return self._current

    def close(self) -> None:
        assert self._current is not None
        self.evaluator.release(self._current)
        self._current = None


class WhenLeft(OneByOne):
    """Adds each state's gradients once, when the chain leaves it, weighted by how long it stayed.

    For a decision of the whole batch, at which the host may look without waiting.
    """

    _stayed = 0

    def retain(self, moved: Tensor) -> Evaluation:
        assert self._current is not None
        assert self._pending is not None
        if bool(moved):
            self._leave(self._current)
            self._current = self._pending
        else:
            self.evaluator.release(self._pending)
        self._pending = None
        self._stayed += 1
        return self._current

    def _leave(self, state: Evaluation) -> None:
        if self._stayed:
            self.evaluator.add_weight_grads(state, self._stayed * self.share)
        self._stayed = 0
        self.evaluator.release(state)

    def close(self) -> None:
        assert self._current is not None
        self._leave(self._current)
        self._current = None


class SideBySide:
    """Keeps up to ``depth`` states in one matrix, and takes their weight gradients together.

    Args:
        evaluator: explicit.
        x: images, ``(n, d_x)``.
        share: weight of a state's gradients.
        depth: states to take together, two or more.
    """

    def __init__(self, evaluator: ExplicitEvaluator, x: Tensor, share: float, depth: int) -> None:
        self.evaluator, self.x, self.share = evaluator, x, share
        # The state before a proposal, it, and the one after it lie in places of their own.
        self.places = max(3, depth)
        self.depth = depth
        self.whole = evaluator.buffers(len(x) * self.places)
        n = len(x)
        self.parts = [self.whole.part(n * i, n * (i + 1)) for i in range(self.places)]
        self.scales: list[Tensor | None] = [None] * self.places
        self._pending: Evaluation | None = None
        self._current: Evaluation | None = None
        self._place = -2  # of the latest evaluation; the start's is the last one
        self._counted = 0

    def evaluate(self, z: Tensor, *, prior: bool = False) -> Evaluation:
        self._place = (self._place + 1) % self.places
        saved = self.parts[self._place]
        self._pending = self.evaluator.evaluate_into(self.x, z, saved, prior=prior)
        self.scales[self._place] = self._pending.kept[1]
        return self._pending

    def next_input(self) -> Tensor:
        """Elsewhere while the state in the next place still waits."""
        after = (self._place + 1) % self.places
        taken = after == 0 and self._counted > 0
        return torch.empty_like(self.parts[0].input) if taken else self.parts[after].input

    def begin(self) -> None:
        self._current, self._pending = self._pending, None

    def retain(self, moved: Tensor) -> Evaluation:
        assert self._current is not None
        assert self._pending is not None
        merge_rows(self._current, self._pending, moved)
        self._current, self._pending = self._pending, None
        self._counted += 1
        if self._counted == self.depth or self._place == self.places - 1:
            self._flush()
        return self._current

    def _flush(self) -> None:
        if not self._counted:
            return
        first, last = self._place - self._counted + 1, self._place
        n = len(self.x)
        kept = [scale for scale in self.scales[first : last + 1] if scale is not None]
        together = torch.cat(kept) if kept else None
        part = self.whole.part(n * first, n * (last + 1))
        self.evaluator.add_kept(part, together, self.share)
        self._counted = 0

    def close(self) -> None:
        self._flush()
        self.evaluator.give_back(self.whole)
        self._current = None


def make_states(evaluator: Evaluator, x: Tensor, steps: int, *, one_decision: bool) -> States:
    """The states of a chain of ``steps`` on images ``x``, each of weight ``1 / steps``.

    ``one_decision`` says that all images accept or reject together.
    """
    on_cpu = x.device.type == "cpu"
    if on_cpu and one_decision:
        return WhenLeft(evaluator, x, 1 / steps)
    if isinstance(evaluator, ExplicitEvaluator) and not on_cpu and steps > 1:
        return SideBySide(evaluator, x, 1 / steps, min(steps, TOGETHER))
    return OneByOne(evaluator, x, 1 / steps)
