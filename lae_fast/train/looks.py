"""Now and then: pictures of what was learned, and a check of how the chain mixes."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

from torch import Tensor

from lae_fast.models import LAE
from lae_fast.train.session import Session
from lae_fast.train.watching.chain_check import ChainCheck, check_chain
from lae_fast.train.watching.snapshot import write_snapshot

EVERY = 2.0
SHARE = 0.02
"""Least seconds between two looks, and the least share of the run so far: neither short epochs
nor long runs flood the disk."""
CHECK_COST = 0.02
"""Most of the run's time that checks of the chain may take."""


@dataclass(frozen=True)
class Look:
    """What was seen; None where no look was due.

    Attributes:
        snapshot: the pictures' path inside the run folder.
        check: how the chain mixes.
    """

    snapshot: str | None = None
    check: ChainCheck | None = None


class Looks:
    """Decides when a look is due, and takes it."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self._last = -math.inf
        self._check_seconds = 0.0

    def take(self, latents: Tensor, *, now: bool) -> Look:
        """Look, if it is time.

        Args:
            latents: of the validation images, ``(n, d_z)``.
            now: whether to look even if it is not time.
        """
        session, config = self.session, self.session.config
        elapsed = session.meter.elapsed
        if not now and elapsed - self._last < max(EVERY, SHARE * elapsed):
            return Look()
        self._last = elapsed
        name = f"snapshots/{session.meter.epoch:06d}.npz"
        model, images = session.model, session.validation_set
        write_snapshot(session.run / name, model, images, latents, seed=config.seed)
        if not now and self._check_seconds > CHECK_COST * elapsed:
            return Look(name)
        return Look(name, self._check())

    def _check(self) -> ChainCheck | None:
        session, model = self.session, self.session.model
        if session.config.model != "lae" or not isinstance(model, LAE):
            return None
        began = time.perf_counter()
        try:
            check = check_chain(
                session.config, model, session.validation_set, session.control.step_size
            )
        except ValueError:  # no finite potential to start from: the next iteration will say so
            check = None
        self._check_seconds += time.perf_counter() - began
        return check
