"""What the dashboard costs: time to open, steady use of one core, and what a trainer feels of it.

    python benchmarks/dashboard.py [--runs 50] [--events 100000] [--seconds 20] [--rounds 5]

Opens the application in a pseudo-terminal of 160 x 50. Processor time is that of the dashboard's
own process; the trainer's iterations are timed by themselves, in rounds with and without it.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import pty
import select
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
from pathlib import Path

from lae_fast import runs
from lae_fast.config import TrainConfig
from lae_fast.runs.events import Evaluated, Progress, RunStarted, encode

BEGAN = time.time() - 60_000


def progress(iteration: int, moment: float) -> Progress:
    return Progress(
        time=moment,
        epoch=iteration // 100 + 1,
        iteration=iteration,
        train_loss=95 + 400 / (1 + iteration / 500),
        accept_rate=0.57,
        accept_prob=0.57,
        step_size=1e-3,
        grad_norm=20.0,
        images_per_second=8000.0,
        steps_per_second=800.0,
        seconds_left=100.0,
        elapsed=iteration / 2,
        memory_bytes=1 << 29,
    )


def evaluated(iteration: int, moment: float) -> Evaluated:
    return Evaluated(
        time=moment,
        epoch=iteration // 100,
        iteration=iteration,
        train_loss=100.0,
        val_loss=101.0,
        val_reconstruction=96.0,
        val_prior=5.0,
        accept_rate=0.57,
        accept_prob=0.57,
        step_size=1e-3,
        latent_std=(1.0,) * 8,
        best=True,
        elapsed=iteration / 2,
    )


def write_runs(root: Path, count: int, events: int) -> Path:
    """Folders with logs of that many events; one file, linked into each."""
    for number in range(count):
        run = root / f"run-{number:02}"
        run.mkdir(parents=True)
        runs.write_config(run, TrainConfig(name=run.name))
        log = run / runs.EVENTS_FILE
        if number:
            os.link(root / "run-00" / runs.EVENTS_FILE, log)
            continue
        first = RunStarted(
            time=BEGAN,
            run="run",
            model="lae",
            pid=1,
            host="elsewhere",
            device="cpu",
            engine="explicit",
            train_images=54000,
            validation_images=6000,
            iterations_per_epoch=100,
            parameters=10**6,
            max_epochs=10**6,
        )
        with open(log, "w", encoding="utf-8") as file:
            file.write(encode(first) + "\n")
            for i in range(1, events):
                file.write(encode(progress(i, BEGAN + i / 2)) + "\n")
                if i % 100 == 0:
                    file.write(encode(evaluated(i, BEGAN + i / 2)) + "\n")
    live = root / "run-00"
    own = live / "own"  # the live run's log is its own: it will grow
    shutil.copy(live / runs.EVENTS_FILE, own)
    os.replace(own, live / runs.EVENTS_FILE)
    return live


class Terminal:
    """The dashboard in a pseudo-terminal; ``begun`` is when it was started."""

    def __init__(self, root: Path, *runs_: Path) -> None:
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 160, 0, 0))
        words = [sys.executable, "-m", "lae_cli", "dash", "--run-root", str(root)]
        self.begun = time.perf_counter()
        self.process = subprocess.Popen(
            [*words, *map(str, runs_)],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=os.environ | {"TERM": "xterm-256color"},
        )
        os.close(slave)
        self.seen = b""
        self._stop = False

    def wait_for(self, text: bytes, limit: float = 60.0) -> float:
        """Seconds from the start until ``text`` was on the screen."""
        while text not in self.seen:
            if time.perf_counter() - self.begun > limit:
                raise TimeoutError(f"{text!r} has not appeared")
            if select.select([self.master], [], [], 0.05)[0]:
                self.seen += os.read(self.master, 1 << 16)
        return time.perf_counter() - self.begun

    def cpu(self) -> float:
        """Processor seconds used so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def drain(self) -> None:
        """Keep taking what it draws."""

        def take() -> None:
            while not self._stop:
                with contextlib.suppress(OSError):  # the other end is closed
                    if select.select([self.master], [], [], 0.2)[0]:
                        os.read(self.master, 1 << 16)

        threading.Thread(target=take, daemon=True).start()

    def close(self) -> None:
        self.process.terminate()
        self.process.wait()
        self._stop = True


def opening(root: Path, live: Path, rounds: int) -> list[tuple[float, float]]:
    """Wall and processor seconds until the newest figures of a run are on the screen."""
    found = []
    for _ in range(rounds):
        terminal = Terminal(root, live)
        try:
            found.append((terminal.wait_for(b"nats/image"), terminal.cpu()))
        finally:
            terminal.close()
    return found


def steady(root: Path, live: Path, seconds: float, events: int) -> float:
    """Share of one core while a run says something every half second."""
    terminal = Terminal(root, live)
    terminal.wait_for(b"nats/image")
    terminal.drain()
    try:
        with runs.RunWriter(live) as log:
            before = terminal.cpu()
            while True:  # the history is read in the background first
                time.sleep(4)
                now = terminal.cpu()
                if now - before < 0.4:
                    break
                before = now
            begun, used = time.perf_counter(), terminal.cpu()
            for step in range(int(seconds * 2)):
                log.append(progress(events + step, time.time()))
                time.sleep(0.5)
            return (terminal.cpu() - used) / (time.perf_counter() - begun)
    finally:
        terminal.close()


def felt(root: Path, rounds: int, seconds: float) -> tuple[list[float], list[float]]:
    """Milliseconds an iteration without and with a dashboard, in turns; medians of each round."""
    run = root / "trained"
    words = [sys.executable, "-m", "lae_cli", "train", "-q", "--name", run.name]
    words += ["--run-root", str(root), "--epochs", "1000000", "--patience", "0"]
    trainer = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    times: tuple[list[float], list[float]] = ([], [])
    try:
        while not (run / runs.EVENTS_FILE).exists():
            time.sleep(0.1)
        time.sleep(5)
        for number in range(2 * rounds):
            attached = number % 2
            terminal = Terminal(root, run) if attached else None
            if terminal is not None:
                terminal.wait_for(b"nats/image")
                terminal.drain()
            time.sleep(1)
            begun = time.time()
            time.sleep(seconds)
            said = [e for e in runs.read_ends(run) if isinstance(e, Progress) and e.time > begun]
            # Iterations per second leave out the time between iterations, as for validation.
            times[attached].append(1e3 / statistics.median(e.steps_per_second for e in said))
            if terminal is not None:
                terminal.close()
    finally:
        trainer.terminate()
        trainer.wait()
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        live = write_runs(root / "many", given.runs, given.events)
        open_times = opening(live.parent, live, given.rounds)
        wall, cpu = min(open_times)[0], min(c for _, c in open_times)
        print(f"opens {given.runs} runs of {given.events} events in {wall:.2f} s", end=" ")
        print(f"(best of {given.rounds}; {cpu:.2f} s of processor time)", flush=True)
        share = steady(live.parent, live, given.seconds, given.events)
        print(f"steady: {share:.1%} of one core", flush=True)
        without, with_it = felt(root / "one", given.rounds, given.seconds / 2)
        print(
            f"trainer: {min(without):.3f} ms a Langevin step alone, {min(with_it):.3f} ms watched"
        )
        spread = max(without) - min(without)
        print(f"  (best of {given.rounds} rounds; the rounds alone differ by {spread:.3f} ms)")


if __name__ == "__main__":
    main()
