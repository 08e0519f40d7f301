"""Runs a sweep: finds the points that are left, submits them, and watches until all have ended."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Sequence

from lae_fast.sweeps.executor import Executor
from lae_fast.sweeps.folder import FAILED, Point, PointState, SweepFolder
from lae_fast.sweeps.job import Job

POLL = 0.5
"""Seconds between two looks at the run folders."""


def states(folder: SweepFolder, points: Sequence[Point]) -> list[PointState]:
    """How far each point is."""
    return [folder.state(point) for point in points]


def left_to_do(states: Sequence[PointState], *, retry_failed: bool) -> list[Point]:
    """The points that are neither done nor dropped from the file, nor failed unless wanted."""
    return [
        state.point
        for state in states
        if state.point.listed and not state.done and (retry_failed or state.status != FAILED)
    ]


def check_points(points: Sequence[Point], *, here: bool) -> None:
    """Load every data set, downloading what is missing, and see that the networks can be built.

    Once, so that jobs neither download the same files at once nor fail one by one.

    Args:
        points: to be trained.
        here: whether on this machine, so that its devices count.

    Raises:
        ConfigError: a point that cannot be trained; the message names it.
        DataError: a data set that cannot be had.
    """
    from lae_fast.train.session import check_trainable

    check_trainable({f"point {point.name}": point.config for point in points}, here=here)


def submit(folder: SweepFolder, points: Sequence[Point], executor: Executor) -> None:
    """Hand the points to the executor.

    Raises:
        ConfigError: it refuses them.
    """
    cwd, root = os.getcwd(), str(folder.root.resolve())
    executor.submit([Job(root, point.name, executor.threads, cwd) for point in points])


def watch(
    folder: SweepFolder,
    points: Sequence[Point],
    executor: Executor,
    stopped: Callable[[], bool],
) -> Generator[list[PointState]]:
    """How far each point is, twice per second, until every job has ended.

    When ``stopped`` says so, jobs are asked to save and end; when the consumer goes away, they are
    killed.
    """
    known = {point.name: folder.state(point) for point in points}
    asked = finished = False
    try:
        while not finished:
            if stopped() and not asked:
                asked = True
                executor.stop()
            finished = executor.done()
            for name, state in known.items():
                if not state.done:
                    known[name] = folder.state(state.point)
            yield list(known.values())
            if not finished:
                time.sleep(POLL)
    finally:
        if not finished:
            executor.kill()
