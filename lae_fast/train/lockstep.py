"""Rank 0 announces each iteration, and the other ranks follow.

Rank 0 has the run folder, the clock, the user and the validation set, so it alone decides what
comes next. The other ranks act only on the command that it broadcasts: train on this batch with
this step size, take over my state, or stop.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import torch

from lae_fast.errors import RankLostError, TrainingError
from lae_fast.ranks import Ranks
from lae_fast.train import state as saved_state
from lae_fast.train.worker import Place, Worker

ITERATE, RECEIVE, STOP = range(3)


def follow(worker: Worker) -> None:
    """Carry out rank 0's commands until it says stop.

    Raises:
        RankLostError: rank 0, or another rank, is gone.
    """
    while True:
        order, iteration, epoch, batch, step_size = _command(worker.ranks).tolist()
        if order == STOP:
            return
        if order == RECEIVE:
            worker.receive()
            continue
        worker.trainer.step_size = step_size
        # Rank 0 meets the same error, and decides what becomes of it.
        with contextlib.suppress(TrainingError):
            worker.train_on(Place(int(iteration), int(epoch), int(batch)))


@contextlib.contextmanager
def announced(worker: Worker, place: Place) -> Iterator[None]:
    """Around an iteration on rank 0: the other ranks run the same one.

    Raises:
        RankLostError: another rank is gone. The generators are put back, so that the state can be
            saved as it was before the iteration.
    """
    if worker.ranks.alone:
        yield
        return
    before = {k: v.clone() for k, v in saved_state.generators(worker.trainer).items()}
    step_size = float(worker.trainer.step_size)
    try:
        _command(worker.ranks, [ITERATE, place.iteration, place.epoch, place.batch, step_size])
        yield
    except RankLostError:
        saved_state.restore_generators(before, worker.trainer)
        raise


def share_state(worker: Worker) -> None:
    """Give every rank the state of rank 0."""
    if not worker.ranks.alone:
        _command(worker.ranks, [RECEIVE, 0, 0, 0, 0])
        worker.receive()


def dismiss(ranks: Ranks) -> None:
    """Let the other ranks stop; they may be gone already."""
    if not ranks.alone:
        with contextlib.suppress(RankLostError):
            _command(ranks, [STOP, 0, 0, 0, 0])


def _command(ranks: Ranks, command: Sequence[float] = (0, 0, 0, 0, 0)) -> torch.Tensor:
    return ranks.broadcast(torch.tensor(command, dtype=torch.float64, device=ranks.device))
