"""Jobs on a Slurm cluster, through submitit, and on a Ray cluster."""

from __future__ import annotations

import contextlib
import json
import logging
import re
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lae_fast.errors import ConfigError, did_you_mean
from lae_fast.runs.files import write_atomically
from lae_fast.sweeps.folder import JOBS, SweepFolder
from lae_fast.sweeps.job import Job
from lae_fast.sweeps.keys import check_keys

if TYPE_CHECKING:
    import submitit

REQUEUES = 50
"""How often a job that reaches its time limit is queued again, to continue its training."""
DAY = 24 * 60
CANCEL_WITHIN = 60.0
"""Seconds to wait until cancelled jobs have saved; Slurm kills them after 30."""
RAY_KEYS = (
    "num_cpus",
    "num_gpus",
    "memory",
    "resources",
    "accelerator_type",
    "scheduling_strategy",
)


class Slurm:
    """Runs jobs as one Slurm array; a second call finds those of the first that wait or run.

    Args:
        jobs: how many may run at a time.
        root: the sweep's folder, on a disk that the nodes share.
        options: of sbatch, with ``_`` for ``-``: partition, account, time (minutes), mem.
    """

    def __init__(self, jobs: int | None, root: Path, options: Mapping[str, Any]) -> None:
        library = _import("submitit", "Slurm", "cluster")
        logging.getLogger("submitit").setLevel(logging.ERROR)
        self._folder, self._place = SweepFolder(root), root / JOBS / "slurm"
        self._known = self._place / "jobs.json"
        self._jobs: dict[str, submitit.Job[int]] = {}
        self._cancelled: float | None = None
        defaults: dict[str, Any] = {"cpus_per_task": 1, "time": DAY, "job_name": root.name}
        self._options = defaults | dict(options)
        if jobs is not None:
            self._options["array_parallelism"] = jobs
        try:
            self._executor = library.SlurmExecutor(self._place, max_num_timeout=REQUEUES)
            self._executor.update_parameters(**self._options)
        except RuntimeError as error:
            raise ConfigError("there is no Slurm here (no srun); use --on local") from error
        except (ValueError, TypeError) as error:
            raise ConfigError(f"[slurm]: {_refused(str(error))}") from error

    @property
    def where(self) -> str:
        partition = self._options.get("partition")
        return "Slurm" + (f", partition {partition}" if partition else "")

    @property
    def threads(self) -> int:
        return int(self._options["cpus_per_task"])

    def submit(self, jobs: Sequence[Job]) -> None:
        """Submit all jobs but those that still wait or run from an earlier call."""
        self._jobs = self._still_there({job.name for job in jobs})
        new = [job for job in jobs if job.name not in self._jobs]
        if new:
            try:
                with self._executor.batch():
                    submitted = [self._executor.submit(job) for job in new]
            except (subprocess.CalledProcessError, RuntimeError, OSError) as error:
                text = " ".join(str(error).split()) or type(error).__name__
                raise ConfigError(f"Slurm refused the jobs: {text}") from error
            self._jobs |= {job.name: found for job, found in zip(new, submitted, strict=True)}
        self._remember()

    def done(self) -> bool:
        if self._cancelled is not None:
            late = time.monotonic() - self._cancelled > CANCEL_WITHIN
            return late or not any(self._folder.active(name) for name in self._jobs)
        return all(job.done() for job in self._jobs.values())

    def stop(self) -> None:
        self._cancelled = time.monotonic()
        for job in self._jobs.values():
            if not job.done():
                job.cancel(check=False)
        self._known.unlink(missing_ok=True)

    def kill(self) -> None:
        self.stop()

    def _still_there(self, names: set[str]) -> dict[str, submitit.Job[int]]:
        """Jobs of an earlier call that have not ended."""
        from submitit import SlurmJob

        try:
            known = json.loads(self._known.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        found: dict[str, submitit.Job[int]] = {
            name: SlurmJob(self._place, job_id) for name, job_id in known.items() if name in names
        }
        # Only the first asks sacct, which answers for all of them.
        ended = [job.done(force_check=not index) for index, job in enumerate(found.values())]
        return {name: found[name] for name, over in zip(found, ended, strict=True) if not over}

    def _remember(self) -> None:
        self._place.mkdir(parents=True, exist_ok=True)
        ids = {name: job.job_id for name, job in self._jobs.items()}
        write_atomically(self._known, json.dumps(ids) + "\n")


class Ray:
    """One Ray task per point, on the cluster of RAY_ADDRESS, or on this machine without one.

    Args:
        options: of each task: num_cpus, num_gpus, memory, resources.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        check_keys(options, RAY_KEYS, source="[ray]")
        self._ray = _import("ray", "Ray", "ray")
        self._options = {"num_cpus": 1} | dict(options)
        self._tasks: list[Any] = []
        try:
            self._ray.init(
                log_to_driver=False, logging_level=logging.ERROR, ignore_reinit_error=True
            )
            self._task = self._ray.remote(**self._options)(_call)
        except Exception as error:  # Ray's errors have no common base class
            text = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise ConfigError(f"Ray cannot be used: {text}") from error

    @property
    def where(self) -> str:
        return f"Ray, {len(self._ray.nodes())} node(s)"

    @property
    def threads(self) -> int:
        return max(1, int(self._options["num_cpus"]))

    def submit(self, jobs: Sequence[Job]) -> None:
        self._tasks += [self._task.remote(job) for job in jobs]

    def done(self) -> bool:
        if not self._tasks:
            return True
        return not self._ray.wait(self._tasks, num_returns=len(self._tasks), timeout=0)[1]

    def stop(self) -> None:
        """Interrupt the tasks: each `Job` then has its training save and end."""
        for task in self._tasks:
            self._ray.cancel(task)

    def kill(self) -> None:
        for task in self._tasks:
            with contextlib.suppress(Exception):
                self._ray.cancel(task, force=True)


def _call(job: Job) -> int:
    return job()


def _import(module: str, name: str, extra: str) -> Any:
    import importlib

    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ConfigError(
            f"{name} needs {module}: pip install 'lae-fast[{extra}]', or use --on local"
        ) from error


def _refused(text: str) -> str:
    """submitit's message on one line: an unknown key with the closest known one, not with all."""
    wrong = re.findall(r"\['(\w+)'", text.splitlines()[0])
    known = re.findall(r"- (\w+) \(default", text)
    if not (wrong and known):
        return " ".join(text.split())
    return f"unknown key '{wrong[0]}'; {did_you_mean(wrong[0], known)}"
