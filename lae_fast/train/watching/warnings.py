"""Notices a training that goes wrong, and says so once, in one line with the remedy."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

from lae_fast.runs import health
from lae_fast.runs.health import STUCK_ITERATIONS, Finding
from lae_fast.train.trainers.base import IterationStats


class Watch:
    """Judges every iteration and every evaluation; gives each warning once.

    Args:
        has_chain: whether acceptance means anything for the model.
    """

    def __init__(self, has_chain: bool) -> None:
        self.has_chain = has_chain
        self.iterations = 0
        self.recent: deque[float] = deque(maxlen=STUCK_ITERATIONS)
        self.lowest = math.inf
        self.said: set[str] = set()

    def iteration(self, stats: IterationStats) -> Iterator[str]:
        """Warnings after an iteration."""
        self.iterations += 1
        if self.has_chain:
            self.recent.append(stats.accept_prob)
            if len(self.recent) == STUCK_ITERATIONS:
                yield from self._once(health.stuck(self.recent))

    def evaluation(self, train_loss: float, latent_gain: float) -> Iterator[str]:
        """Warnings after an evaluation.

        Args:
            train_loss: mean of the epoch, nats per image.
            latent_gain: nats per image that the decoder loses with another image's latents.
        """
        self.lowest = min(self.lowest, train_loss)
        yield from self._once(health.diverged(train_loss, self.lowest))
        yield from self._once(
            health.unused_latents(latent_gain, self.iterations, has_chain=self.has_chain)
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

    def _once(self, finding: Finding | None) -> Iterator[str]:
        if finding is not None and finding.name not in self.said:
            self.said.add(finding.name)
            yield f"{finding.name}: {finding.text}"
