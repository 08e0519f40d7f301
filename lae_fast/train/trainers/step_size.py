"""The trainer's step size: fixed, or adapted without ever letting it collapse the model."""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Mapping
from typing import Any

from lae_fast.config import AUTO, TrainConfig
from lae_fast.sampling.adaptation import DualAveraging

WHITENED_START = 1e-3
"""In whitened coordinates steps are in z's units; posterior variances of trained decoders are a
few hundredths, and this start is safely below them (times the temperature)."""
IMAGE_CAP = 0.05
"""Where each image accepts on its own; the variance of the least certain posteriors of a trained
decoder."""
BATCH_CAP = 3e-3
"""Where the whole batch accepts at once. One step then moves every image, so the step that a given
acceptance allows hardly depends on the images, and the noise that phi takes over bounds it."""
DRAWN_START, DRAWN_CAP = 0.1, 1.0
"""Where each image's chain starts at a draw, in units of that Gaussian's variances. A step of 1
takes the mean of a standard Gaussian's proposal to its mode."""
PLAIN_START = 1e-7
LATE_START = 100
"""Iterations before adaptation begins in whitened coordinates. An untrained decoder ignores z and
accepts anything: adapting to it would grow the step until z is noise, and the decoder would never
learn to use z."""
WARMUP = 200
"""Iterations of dual averaging in plain coordinates, where no start fits every network."""
FOLLOW = 0.02
"""Gain of the slow following afterwards: training keeps changing the law that is sampled, so a
step size that is frozen for good is soon wrong."""


class StepSizeControl:
    """Feeds the acceptance probability of each iteration back into the step size.

    With ``step_size = "auto"``:

    - whitened coordinates: start at 1e-3, leave it for 100 iterations, then follow slowly,
      ``log eta += 0.02 (accept_prob - target)``, never above 0.05 (3e-3 when the whole batch
      accepts at once); where chains start at a draw, from 0.1 and never above 1, in units of the
      variances that it was drawn with;
    - plain coordinates: 200 iterations of dual averaging, then the same slow following.

    Start and cap scale with the temperature, as the sampled law's variance does. Without a chain
    the step size is NaN.
    """

    def __init__(self, config: TrainConfig) -> None:
        self.auto = config.step_size == AUTO
        self.target = config.target_accept
        self.whiten = config.whiten
        start, cap = WHITENED_START, IMAGE_CAP if config.per_image else BATCH_CAP
        if config.from_draw:
            start, cap = DRAWN_START, DRAWN_CAP
        elif not config.whiten:
            start, cap = PLAIN_START, math.inf
        self.cap = cap * config.temperature
        start *= config.temperature
        start = max(start, sys.float_info.min)  # the tiniest temperatures leave nothing of it
        self.step_size = start if self.auto else float(config.step_size)
        if not config.has_chain:
            self.auto, self.step_size = False, math.nan
        self.iterations = 0
        self.averaging = DualAveraging(self.step_size, self.target)

    def update(self, accept_prob: float) -> float:
        """Take in an iteration's mean acceptance probability; return eta for the next one."""
        self.iterations += 1
        if not self.auto:
            return self.step_size
        if self.whiten:
            if self.iterations > LATE_START:
                self._follow(accept_prob)
        elif self.iterations < WARMUP:
            self.step_size = self.averaging.update(accept_prob)
        elif self.iterations == WARMUP:
            self.step_size = self.averaging.freeze()
        else:
            self._follow(accept_prob)
        return self.step_size

    def facts(self) -> dict[str, Any]:
        """Everything that changes, as plain values."""
        return {
            "auto": self.auto,
            "step_size": self.step_size,
            "cap": self.cap,
            "iterations": self.iterations,
            "averaging": dataclasses.asdict(self.averaging),
        }

    def restore(self, facts: Mapping[str, Any]) -> None:
        """Put back what `facts` gave."""
        self.auto, self.step_size, self.cap = facts["auto"], facts["step_size"], facts["cap"]
        self.iterations = facts["iterations"]
        self.averaging = DualAveraging(**facts["averaging"])

    def shrink(self) -> None:
        """Halve the step size and its cap, after a divergence."""
        self.step_size *= 0.5
        self.cap *= 0.5

    def fix(self, step_size: float) -> None:
        """Use this step size from now on, without adaptation."""
        self.auto, self.step_size = False, step_size

    def _follow(self, accept_prob: float) -> None:
        proposed = self.step_size * math.exp(FOLLOW * (accept_prob - self.target))
        self.step_size = min(proposed, self.cap)
