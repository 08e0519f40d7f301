"""A Slurm of one machine: sbatch, srun, sacct, scancel and scontrol as one script (Linux).

`install` puts them on a PATH. Arrays run one task after the other, in the background; a cancelled
task gets SIGTERM in all of its processes, as from Slurm, and a cancelled one that waits never runs.
FAKE_SLURM names the folder that holds a file for each task: its state.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

NAMES = ("sbatch", "srun", "sacct", "scancel", "scontrol")


def install(folder: Path) -> dict[str, str]:
    """Make the commands in ``folder``; the environment that finds them."""
    folder.mkdir()
    (folder / "states").mkdir()
    for name in NAMES:
        script = folder / name
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{__file__}" {name} "$@"\n')
        script.chmod(0o755)
    path = f"{folder}{os.pathsep}{os.environ['PATH']}"
    return {"PATH": path, "FAKE_SLURM": str(folder / "states")}


def _states() -> Path:
    return Path(os.environ["FAKE_SLURM"])


def _set(task: str, state: str) -> None:
    (_states() / task).write_text(state)


def sbatch(file: str) -> None:
    text, job = Path(file).read_text(), str(1 + len(list(_states().glob("script-*"))))
    array = re.search(r"--array=0-(\d+)", text)
    tasks = [f"{job}_{n}" for n in range(int(array[1]) + 1)] if array else [job]
    script = _states() / f"script-{job}"
    shutil.copy(file, script)
    for task in tasks:
        _set(task, "PENDING")
    subprocess.Popen(
        [sys.executable, __file__, "daemon", str(script), *tasks],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    print(f"Submitted batch job {job}")


def daemon(script: str, *tasks: str) -> None:
    for task in tasks:
        if (_states() / task).read_text() == "CANCELLED":
            continue
        _set(task, "RUNNING")
        job, _, index = task.partition("_")
        array = {"SLURM_ARRAY_JOB_ID": job, "SLURM_ARRAY_TASK_ID": index} if index else {}
        environ = os.environ | {"SLURM_JOB_ID": job, "FAKE_TASK": task} | array
        code = subprocess.run(["bash", script], env=environ, check=False).returncode
        while (_states() / task).read_text() == "REQUEUED":
            _set(task, "RUNNING")
            code = subprocess.run(["bash", script], env=environ, check=False).returncode
        if (_states() / task).read_text() != "CANCELLED":
            _set(task, "FAILED" if code else "COMPLETED")


def srun(*words: str) -> None:
    command = list(words)
    while command[0].startswith("-"):
        command = command[1 if "=" in command[0] or command[0] == "--unbuffered" else 2 :]
    os.execv(command[0], command)


def sacct(*_: str) -> None:
    print("JobID|State|NodeList")
    for path in _states().iterdir():
        if not path.name.startswith("script-"):
            print(f"{path.name}|{path.read_text()}|here")


def scancel(task: str) -> None:
    _set(task, "CANCELLED")
    send(task, signal.SIGTERM)


def scontrol(verb: str, task: str) -> None:
    assert verb == "requeue"
    _set(task, "REQUEUED")


def send(task: str, number: signal.Signals) -> None:
    """A signal to every process of a task but the batch script, as Slurm does it."""
    for process in Path("/proc").iterdir():
        try:
            environ = (process / "environ").read_bytes().split(b"\0")
            words = (process / "cmdline").read_bytes().split(b"\0")
            if f"FAKE_TASK={task}".encode() in environ and words[0] != b"bash":
                os.kill(int(process.name), number)
        except (OSError, ValueError):
            continue


if __name__ == "__main__":
    name, *rest = sys.argv[1:]
    globals()[name](*rest)
