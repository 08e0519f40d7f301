"""Jobs on this machine's cores: a pool of threads, each waiting for a process."""

from __future__ import annotations

import concurrent.futures
import os
from collections.abc import Sequence
from pathlib import Path

from lae_fast.sweeps.job import Job


class Local:
    """``jobs`` processes at a time, which share the cores evenly.

    Args:
        jobs: how many; by default one per core, or one in all if they would share a GPU.
        cuda: whether they would.
    """

    def __init__(self, jobs: int | None, *, cuda: bool) -> None:
        self.jobs = jobs or (1 if cuda and has_gpu() else cores())
        self.threads = max(1, cores() // self.jobs)
        self._pool = concurrent.futures.ThreadPoolExecutor(self.jobs)
        self._jobs: list[Job] = []
        self._futures: list[concurrent.futures.Future[int]] = []

    @property
    def where(self) -> str:
        plural = "s" if self.threads > 1 else ""
        return f"this machine, {self.jobs} at a time, {self.threads} thread{plural} each"

    def submit(self, jobs: Sequence[Job]) -> None:
        self._jobs += jobs
        self._futures += [self._pool.submit(job) for job in jobs]

    def done(self) -> bool:
        if not all(future.done() for future in self._futures):
            return False
        for future in self._futures:
            if not future.cancelled():
                future.result()  # raises what the job raised, such as a full disk
        return True

    def stop(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
        for job in self._jobs:
            job.stop()

    def kill(self) -> None:
        self.stop()
        for job in self._jobs:
            job.kill()
        self._pool.shutdown(wait=True)


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def has_gpu() -> bool:
    """Whether this machine has an NVIDIA GPU that is not hidden, without loading torch."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return Path("/dev/nvidia0").exists() if visible is None else visible not in ("", "-1")
