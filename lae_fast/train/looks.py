"""Now and then: pictures of what was learned, and a check of how the chain mixes."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import torch
from torch import Tensor

from lae_fast.models import LAE
from lae_fast.runs.events import SnapshotTaken
from lae_fast.train.session import Session
from lae_fast.train.watching.chain_check import ChainCheck, check_chain
from lae_fast.train.watching.snapshot import LATENTS, write_snapshot

EVERY = 2.0
SHARE = 0.02
"""Least seconds between two looks, and the least share of the run so far: neither short epochs
nor long runs flood the disk."""
WITHIN_EPOCH, GROWTH, LONGEST = 3.0, 1.5, 60.0
"""Seconds without a look after which pictures are taken inside an epoch: at first, by how much the
wait grows each time, and at most."""
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
        self._gap = WITHIN_EPOCH
        self._next_within = time.monotonic() + self._gap

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
        self._wait_within()
        name = f"snapshots/{session.meter.epoch:06d}.npz"
        model, images = session.model, session.validation_set
        write_snapshot(session.run / name, model, images, latents, seed=config.seed)
        if not now and self._check_seconds > CHECK_COST * elapsed:
            return Look(name)
        return Look(name, self._check())

    def within_epoch(self) -> SnapshotTaken | None:
        """Pictures of the model as it is now, if nothing was shown for long.

        Nothing that training depends on changes: the draws have generators of their own.
        """
        session, meter = self.session, self.session.meter
        if time.monotonic() < self._next_within:
            return None
        name, images = "snapshots/within-epoch.npz", session.validation_set.first(LATENTS)
        with torch.no_grad():
            latents = [there.encode(x) for there, x in session.model.over(images)]
        write_snapshot(
            session.run / name,
            session.model,
            images,
            torch.cat(latents).cpu(),
            seed=session.config.seed,
        )
        self._gap = min(LONGEST, GROWTH * self._gap)
        self._wait_within()
        return SnapshotTaken(
            time=time.time(),
            epoch=meter.epoch,
            iteration=meter.iteration,
            elapsed=meter.elapsed,
            snapshot=name,
        )

    def _wait_within(self) -> None:
        share = 5 * SHARE * self.session.meter.elapsed
        self._next_within = time.monotonic() + max(self._gap, share)

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
