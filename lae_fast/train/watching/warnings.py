"""Notices a training that goes wrong, and says so once, in one line with the remedy."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

from lae_fast.train.trainers.base import IterationStats

FROZEN_BELOW = 0.01
FROZEN_FOR = 200
"""Iterations with acceptance under `FROZEN_BELOW` on average."""
EARLY = 500
"""Iterations before a decoder is expected to use its latents."""
UNUSED_BELOW = 0.5
"""Nats an image that a decoder must gain from the right latents."""


class Watch:
    """Fed with every iteration and every evaluation; each warning is given once.

    Args:
        has_chain: whether acceptance means anything for the model.
    """

    def __init__(self, has_chain: bool) -> None:
        self.has_chain = has_chain
        self.iterations = 0
        self.recent: deque[float] = deque(maxlen=FROZEN_FOR)
        self.lowest = math.inf
        self.said: set[str] = set()

    def iteration(self, stats: IterationStats) -> Iterator[str]:
        """Warnings after an iteration."""
        self.iterations += 1
        if self.has_chain:
            self.recent.append(stats.accept_prob)
            if len(self.recent) == FROZEN_FOR and sum(self.recent) < FROZEN_BELOW * FROZEN_FOR:
                yield from self._once(
                    "the chain is frozen: under 1 % of proposals would be accepted; use "
                    "--step-size auto, or a smaller one"
                )

    def evaluation(self, train_loss: float, latent_gain: float) -> Iterator[str]:
        """Warnings after an evaluation.

        Args:
            train_loss: mean of the epoch, nats an image.
            latent_gain: see `lae_fast.train.watching.validate.Validation`.
        """
        self.lowest = min(self.lowest, train_loss)
        if train_loss > self.lowest + max(abs(self.lowest), 10.0):
            yield from self._once(
                "training diverges: the loss has more than doubled; use a lower --learning-rate "
                "or --step-size"
            )
        if self.iterations >= EARLY and latent_gain < UNUSED_BELOW:
            yield from self._once(
                "the latents have become noise: the decoder ignores them; use --step-size auto "
                "or a smaller one, or a lower --temperature"
                if self.has_chain
                else "the decoder ignores the latents; use fewer latents or a higher "
                "--learning-rate"
            )

    def facts(self) -> dict[str, Any]:
        """Everything that changes, as plain values."""
        return {
            "iterations": self.iterations,
            "recent": list(self.recent),
            "lowest": self.lowest,
            "said": sorted(self.said),
        }

    def restore(self, facts: Mapping[str, Any]) -> None:
        """Put back what `facts` gave."""
        self.iterations, self.lowest = facts["iterations"], facts["lowest"]
        self.recent.extend(map(float, facts["recent"]))
        self.said = set(map(str, facts["said"]))

    def _once(self, text: str) -> Iterator[str]:
        if text not in self.said:
            self.said.add(text)
            yield text
