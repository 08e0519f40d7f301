"""The leader's word before each iteration, and the ranks that follow it.

Rank 0 has the run folder, the clock, the user and the validation set, so it alone decides what
comes next. The others know nothing but what it says: train on this batch with this step size, take
over my state, or stop.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import torch

from lae_fast.errors import RankLostError, TrainingError
from lae_fast.ranks import Ranks
from lae_fast.train import state as resume
from lae_fast.train.trainers.base import IterationStats
from lae_fast.train.worker import Place, Worker

ITERATE, RECEIVE, STOP = range(3)


def follow(worker: Worker) -> None:
    """Do what the leader says until it says stop.

    Raises:
        RankLostError: the leader, or another rank, is gone.
    """
    while True:
        order, iteration, epoch, batch, step_size = _word(worker.ranks).tolist()
        if order == STOP:
            return
        if order == RECEIVE:
            worker.receive()
            continue
        worker.trainer.step_size = step_size
        # The leader meets the same error, and decides what becomes of it.
        with contextlib.suppress(TrainingError):
            worker.iteration(Place(int(iteration), int(epoch), int(batch)))


def lead(worker: Worker, place: Place) -> IterationStats:
    """One iteration on every rank.

    Raises:
        TrainingError: as `Worker.iteration`.
        RankLostError: generators are put back, so that the state can be saved as it was before.
    """
    if worker.ranks.alone:
        return worker.iteration(place)
    before = {k: v.clone() for k, v in resume.generators(worker.trainer).items()}
    step_size = worker.trainer.step_size
    try:
        _word(worker.ranks, [ITERATE, place.iteration, place.epoch, place.batch, step_size])
        return worker.iteration(place)
    except RankLostError:
        resume.restore_generators(before, worker.trainer)
        raise


def lead_state(worker: Worker) -> None:
    """Give every rank the leader's state."""
    if not worker.ranks.alone:
        _word(worker.ranks, [RECEIVE, 0, 0, 0, 0])
        worker.receive()


def lead_away(ranks: Ranks) -> None:
    """Let the others stop; they may be gone already."""
    if not ranks.alone:
        with contextlib.suppress(RankLostError):
            _word(ranks, [STOP, 0, 0, 0, 0])


def _word(ranks: Ranks, word: Sequence[float] = (0, 0, 0, 0, 0)) -> torch.Tensor:
    return ranks.broadcast(torch.tensor(word, dtype=torch.float64, device=ranks.device))
