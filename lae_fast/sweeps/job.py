"""One point of a sweep, trained in a process of its own.

``python -m lae_fast.sweeps.job FOLDER NAME`` trains or continues a point and ends, its state saved,
when it is signalled or when its stdin closes. It therefore ends whenever the process that started
it ends. `Job` starts it: from a thread on this machine, or from the batch job on a cluster.
"""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from lae_fast.errors import RunError
from lae_fast.runs.files import open_own
from lae_fast.sweeps.folder import Note, SweepFolder

if TYPE_CHECKING:
    from lae_fast.train import StopRequest

COMMAND = (sys.executable, "-m", "lae_fast.sweeps.job")
POLL = 0.1
# Slurm announces the end of a job with the user signals, to all of its processes.
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
LOG_TAIL = 1 << 16


@dataclasses.dataclass
class Job:
    """Trains a point and waits for it; plain values, so that a cluster can carry it.

    Attributes:
        root: the sweep's folder.
        name: of the point.
        threads: to compute with, unless the point was begun with another number.
        cwd: what relative paths in the settings are relative to.
    """

    root: str
    name: str
    threads: int
    cwd: str

    def __post_init__(self) -> None:
        self._stopped = threading.Event()
        self._killed = threading.Event()
        self._child: subprocess.Popen[bytes] | None = None

    def __reduce__(self) -> tuple[type[Job], tuple[Any, ...]]:
        return Job, dataclasses.astuple(self)

    def __call__(self) -> int:
        """The exit code of the training: 0 also when it was asked to stop."""
        folder = SweepFolder(Path(self.root))
        if self._stopped.is_set():
            return 0
        threads = folder.note(self.name).threads or self.threads
        folder.write_note(self.name, Note(threads))
        with open_own(folder.log(self.name)) as log:
            begin = log.seek(0, os.SEEK_END)
            self._child = self._start(threads, log)
            code = self._wait(self._child)
        if code and not self._killed.is_set():
            folder.write_note(self.name, Note(threads, _reason(code, folder, self.name, begin)))
        return code

    def stop(self) -> None:
        """Ask the training to save its state and end; one that has not begun never will."""
        self._stopped.set()
        if self._child is not None and self._child.stdin is not None:
            self._child.stdin.close()

    def kill(self) -> None:
        """End it at once; it can be continued from its last saved state."""
        self._killed.set()

    def checkpoint(self, *_: object) -> Any:
        """What submitit does before Slurm takes the node away: save, and queue again."""
        from submitit.helpers import DelayedSubmission

        self.stop()
        folder, deadline = SweepFolder(Path(self.root)), time.monotonic() + 60
        while time.monotonic() < deadline and folder.state(folder.point(self.name)).active:
            time.sleep(POLL)
        return DelayedSubmission(Job(**dataclasses.asdict(self)))

    def _start(self, threads: int, log: IO[bytes]) -> subprocess.Popen[bytes]:
        count = str(threads)
        pinned = {"OMP_NUM_THREADS": count, "MKL_NUM_THREADS": count, "OMP_WAIT_POLICY": "passive"}
        return subprocess.Popen(
            [*COMMAND, self.root, self.name],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            cwd=self.cwd,
            env=os.environ | pinned,
            start_new_session=True,  # Ctrl-C is for whoever drives the sweep
        )

    def _wait(self, child: subprocess.Popen[bytes]) -> int:
        assert child.stdin is not None
        try:
            while (code := child.poll()) is None:
                if self._stopped.is_set():
                    child.stdin.close()
                if self._killed.is_set():
                    child.kill()
                time.sleep(POLL)
            return code
        finally:  # also when a cluster interrupts this very thread
            child.stdin.close()
            child.wait()


def _reason(code: int, folder: SweepFolder, name: str, begin: int) -> str:
    """Why a training failed, in one line: the last it printed."""
    if code < 0:
        hint = "; out of memory?" if code == -signal.SIGKILL else ""
        return f"killed by {signal.Signals(-code).name}{hint}"
    with open(folder.log(name), "rb") as file:
        end = file.seek(0, os.SEEK_END)
        file.seek(max(begin, end - LOG_TAIL))
        lines = file.read().decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else f"exit code {code}"


def run_point(root: Path, name: str, stopped: threading.Event) -> None:
    """Train a point, or continue it from its last saved state; print its messages and its end.

    Args:
        root: the sweep's folder.
        name: of the point.
        stopped: once set, the training saves its state and ends.

    Raises:
        ConfigError, RunError, DataError, CheckpointError, TrainingError: as `lae_fast.train.train`.
    """
    from lae_fast.runs.events import Message, RunFinished, RunStarted
    from lae_fast.train import StopRequest, train

    folder = SweepFolder(root)
    point = folder.point(name)
    while (state := folder.state(point)).status == "running":  # somebody else trains it already
        if stopped.is_set():  # no wait(): a signal's set() could not get its lock
            return
        time.sleep(POLL)
    if state.done:
        return
    stop = StopRequest()
    threading.Thread(target=_pass_on, args=(stopped, stop), daemon=True).start()
    for event in train(point.config, stop=stop, resume=_begun(root / name)):
        match event:
            case RunStarted():
                print(f"training {event.run} from iteration {event.iteration}", flush=True)
            case Message():
                print(f"{event.level}: {event.text}", flush=True)
            case RunFinished():
                print(f"{event.status} after {event.epochs} epochs", flush=True)


def _pass_on(stopped: threading.Event, stop: StopRequest) -> None:
    stopped.wait()
    stop.request("interrupted")


def _begun(run: Path) -> Path | None:
    """The run folder if there is a run to continue; an empty folder is removed."""
    if not run.exists():
        return None
    if (run / "config.json").exists():
        return run
    try:
        run.rmdir()
    except OSError as error:
        raise RunError(f"{run} is in the way and is not a run") from error
    return None


def _listen(stop: Callable[[], None]) -> None:
    """Call ``stop`` on a signal, and when stdin closes."""
    for number in _SIGNALS:
        signal.signal(number, lambda *_: stop())

    def wait() -> None:
        while os.read(0, 1024):
            pass
        stop()

    threading.Thread(target=wait, daemon=True).start()


def main(argv: Sequence[str]) -> int:
    """Exit code 0 for a run that ended by itself or was asked to, 1 for one that failed."""
    root, name = argv
    stopped = threading.Event()
    _listen(stopped.set)
    try:
        run_point(Path(root), name, stopped)
    except Exception as error:
        if type(error).__module__.startswith("lae_fast."):
            print(" ".join(str(error).split()), file=sys.stderr)
        else:
            traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
