"""What an executor of jobs must do, and how one is chosen."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from lae_fast.errors import ConfigError
from lae_fast.sweeps.job import Job

PLACES = ("auto", "local", "slurm", "ray")


class Executor(Protocol):
    """Runs jobs in one place, a limited number at a time."""

    @property
    def where(self) -> str:
        """The place in words, for the first line that the user reads."""
        ...

    @property
    def threads(self) -> int:
        """Threads that each job computes with."""
        ...

    def submit(self, jobs: Sequence[Job]) -> None:
        """Queue them all.

        Raises:
            ConfigError: they are refused.
        """
        ...

    def done(self) -> bool:
        """Whether all have ended."""
        ...

    def stop(self) -> None:
        """Ask running jobs to save and end; the others never start."""
        ...

    def kill(self) -> None:
        """End all jobs at once; returns when they have ended."""
        ...


def choose(environ: Mapping[str, str] = os.environ) -> str:
    """What ``auto`` means: Slurm where jobs can be submitted, Ray where an address is given.

    Inside a Slurm allocation it is the machine at hand, which was allocated for this.
    """
    if shutil.which("sbatch") and "SLURM_JOB_ID" not in environ:
        return "slurm"
    return "ray" if environ.get("RAY_ADDRESS") else "local"


def make(
    place: str, jobs: int | None, sweep_root: Path, options: Mapping[str, Any], *, cuda: bool
) -> Executor:
    """The executor of a place.

    Args:
        place: one of `PLACES`.
        jobs: how many at a time; None leaves it to the place.
        sweep_root: the sweep's folder.
        options: of each job on Slurm or Ray.
        cuda: whether jobs would use a GPU that is there.

    Raises:
        ConfigError: the place is not there, or an option that it does not know.
    """
    if place == "local":
        from lae_fast.sweeps.local import Local

        return Local(jobs, cuda=cuda)
    from lae_fast.sweeps import cluster

    if place == "slurm":
        return cluster.Slurm(jobs, sweep_root, options)
    if jobs is not None:
        raise ConfigError("--jobs does not apply to Ray: give num_cpus of a job in [ray]")
    return cluster.Ray(options)
