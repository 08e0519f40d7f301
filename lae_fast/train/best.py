"""Keeps the last and the best weights, and writes them often without slowing training down."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from lae_fast.config import TrainConfig
from lae_fast.runs import checkpoint

WRITE_EVERY = 10.0
"""Least seconds between two writes; the end of a run always writes."""


class Keeper:
    """Remembers the best weights by validation loss and writes ``best`` and ``last``.

    Attributes:
        best_loss: lowest validation loss so far, nats per image; NaN before the first.
        best_epoch: its epoch; 0 before the first.
        stale: evaluations since then.
        about: further entries for the description of a checkpoint.
    """

    def __init__(
        self,
        run: Path,
        model: nn.Module,
        config: TrainConfig,
        about: Mapping[str, Any] | None = None,
    ) -> None:
        self.run, self.model, self.about = run, model, dict(about or {})
        self.settings = config.to_dict()
        self.best_loss, self.best_epoch, self.stale = math.nan, 0, 0
        self.epoch = 0
        self._best: dict[str, Tensor] = {}
        self._best_is_written = True
        self._written = time.monotonic()

    def record(self, epoch: int, loss: float, *, counts: bool = True) -> bool:
        """Note an epoch's validation loss; return whether it is the best so far.

        An evaluation that does not count is none of the stale ones.
        """
        self.epoch = epoch
        best = loss < self.best_loss or (math.isnan(self.best_loss) and not math.isnan(loss))
        if best:
            self.best_loss, self.best_epoch, self.stale = loss, epoch, 0
            self._best = {k: v.detach().clone() for k, v in self.model.state_dict().items()}
            self._best_is_written = False
        elif counts:
            self.stale += 1
        if time.monotonic() - self._written >= WRITE_EVERY:
            self.flush()
        return best

    def facts(self) -> dict[str, Any]:
        """Everything that changes but the weights, as plain values."""
        return {
            "best_loss": self.best_loss,
            "best_epoch": self.best_epoch,
            "stale": self.stale,
            "epoch": self.epoch,
        }

    def restore(self, facts: Mapping[str, Any]) -> None:
        """Put back what `facts` gave; the best weights are on the disk already."""
        self.best_loss, self.best_epoch = facts["best_loss"], facts["best_epoch"]
        self.stale, self.epoch = facts["stale"], facts["epoch"]
        self._best, self._best_is_written = {}, True

    def flush_best(self) -> None:
        """Write ``best`` if it is newer than its file."""
        if not self._best_is_written:
            self._write("best", self._best, self.best_epoch)
            self._best_is_written = True

    def flush(self) -> None:
        """Write ``last`` as the model is now, and ``best`` if it is newer than its file."""
        self._write("last", self.model.state_dict(), self.epoch)
        self.flush_best()
        self._written = time.monotonic()

    def _write(self, name: str, tensors: dict[str, Tensor], epoch: int) -> None:
        loss = self.best_loss if name == "best" else None
        about = {
            "epoch": epoch,
            "val_loss": loss,
            "model": self.settings["model"],
            "config": self.settings,
        }
        checkpoint.write(self.run, name, tensors, self.about | about)
