"""Step-size adaptation by dual averaging (Nesterov 2009; Hoffman and Gelman 2014, section 3.2)."""

from __future__ import annotations

import math
from dataclasses import dataclass

SHRINKAGE = 0.05
OFFSET = 10.0
DECAY = 0.75


@dataclass
class DualAveraging:
    """Drives the mean acceptance probability towards ``target`` by moving log(step size).

    Attributes:
        step_size: the one to use now.
        target: acceptance aimed at; 0.574 is optimal for Langevin proposals in high dimension
            (Roberts and Rosenthal 1998).
        cap: the step size never goes above this.
    """

    step_size: float
    target: float = 0.574
    cap: float = math.inf
    count: int = 0
    error: float = 0.0
    log_average: float = 0.0
    log_start: float = math.nan

    def __post_init__(self) -> None:
        # Ten times the start: the method prefers to come down from large steps, which are cheap
        # to reject, than to creep up from small ones.
        if math.isnan(self.log_start):
            self.log_start = math.log(10 * self.step_size)

    def update(self, accept_prob: float) -> float:
        """Take in the acceptance probability of a step; return the step size to use next."""
        if math.isnan(accept_prob):
            accept_prob = 0.0
        self.count += 1
        share = 1 / (self.count + OFFSET)
        self.error += share * (self.target - accept_prob - self.error)
        log_step = self.log_start - math.sqrt(self.count) / SHRINKAGE * self.error
        log_step = min(log_step, math.log(self.cap))
        weight = self.count**-DECAY
        self.log_average += weight * (log_step - self.log_average)
        self.step_size = math.exp(log_step)
        return self.step_size

    def freeze(self) -> float:
        """Settle on the averaged step size and return it."""
        if self.count:
            self.step_size = math.exp(self.log_average)
        return self.step_size
