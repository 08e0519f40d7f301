"""Trains for a while through kills, stops and full disks, watched; nothing may be lost.

    python tests/tools/soak.py --minutes 20

One run of the built-in digits is killed, stopped and resumed over and over, on a small disk of its
own (a tmpfs, for root; elsewhere that fault is left out), while a dashboard is attached. At the
end: every iteration was trained, every line of the log can be read, every checkpoint can be
loaded, the weights are those of a run that was left alone, and neither trainer nor dashboard grew.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import dataclasses
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

LAE = [sys.executable, "-m", "lae_cli"]
SETTINGS = ["--batch-size", "128", "--hidden", "128", "--patience", "0", "--device", "cpu"]
NAME = "soak"
DISK = 96 << 20
TRAINER_WARM_UP, DASHBOARD_WARM_UP = 90.0, 300.0
"""Seconds after which a process has allocated what it keeps. A dashboard draws once a second, and
its libraries remember what they drew some hundred times."""
MOST_GROWTH = 0.01


@dataclasses.dataclass
class Usage:
    """Samples of one process: seconds since the first, resident bytes, open files."""

    warm_up: float = TRAINER_WARM_UP
    samples: list[tuple[float, int, int]] = dataclasses.field(default_factory=list)
    began: float | None = None

    def take(self, pid: int) -> float:
        now = time.monotonic()
        self.began = self.began or now
        age = now - self.began
        with contextlib.suppress(OSError, ValueError):
            pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
            files = len(os.listdir(f"/proc/{pid}/fd"))
            if pages:  # a process that has ended has none
                self.samples.append((age, pages * os.sysconf("SC_PAGE_SIZE"), files))
        return age

    def growth(self) -> tuple[float, int] | None:
        """Share that memory grew by after the warm-up, and files; medians of first and last third.

        None where there was not time enough to tell.
        """
        kept = [sample for sample in self.samples if sample[0] > self.warm_up]
        if len(kept) < 30:
            return None
        third = len(kept) // 3
        first, last = (
            [statistics.median(s[k] for s in part) for k in (1, 2)]
            for part in (kept[:third], kept[-third:])
        )
        return last[0] / first[0] - 1, int(last[1] - first[1])


@dataclasses.dataclass
class Soak:
    """What happened."""

    run: Path
    chance: random.Random
    faults: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    trainer: list[Usage] = dataclasses.field(default_factory=list)
    dashboard: Usage = dataclasses.field(default_factory=lambda: Usage(DASHBOARD_WARM_UP))
    complaints: list[str] = dataclasses.field(default_factory=list)

    def expect(self, right: bool, otherwise: str) -> None:
        if not right:
            self.complaints.append(otherwise)
            print(f"soak: {otherwise}", flush=True)


def train_command(root: Path, name: str, epochs: int) -> list[str]:
    return [
        *LAE,
        "train",
        "-q",
        "--run-root",
        str(root),
        "--name",
        name,
        "--epochs",
        str(epochs),
        "--checkpoint-interval",
        "0.5",
        *SETTINGS,
    ]


@contextlib.contextmanager
def small_disk(root: Path) -> Iterator[bool]:
    """A tmpfs at ``root``, for who may mount one; whether there is one."""
    root.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(root)]
    mounted = os.geteuid() == 0 and subprocess.run(mount, capture_output=True).returncode == 0
    if not mounted:
        print("soak: no small disk can be mounted here: the full disk is left out", flush=True)
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(root)], check=True)


@contextlib.contextmanager
def watched(root: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A dashboard on a terminal of its own."""
    command = " ".join([*LAE, "dash", "--run-root", str(root), NAME])
    process = subprocess.Popen(
        ["script", "-qfc", command, os.devnull],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"TERM": "xterm-256color", "COLUMNS": "120", "LINES": "40"},
    )
    try:
        yield process
    finally:
        os.kill(child_of(process.pid), signal.SIGKILL)
        process.kill()
        process.wait()


def child_of(pid: int) -> int:
    """The last of a chain of processes: ``script`` runs a shell that runs the dashboard."""
    with contextlib.suppress(OSError, IndexError):
        while text := Path(f"/proc/{pid}/task/{pid}/children").read_text():
            pid = int(text.split()[0])
    return pid


def start_and_kill(soak: Soak, command: list[str]) -> None:
    """Begin the run, so that there is something to watch."""
    process = subprocess.Popen(command)
    while not (soak.run / "events.jsonl").exists() and process.poll() is None:
        time.sleep(0.01)
    process.kill()
    process.wait()
    soak.faults["kill"] += 1


def train_until_fault(soak: Soak, command: list[str], watcher: int, disk: bool) -> int:
    """Train until a fault strikes or the run ends; the exit code."""
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
    usage, ballast = Usage(), soak.run.parent / "ballast"
    soak.trainer.append(usage)
    life = soak.chance.choice((3, 8, 15, 30, 60))
    fault = soak.chance.choice(("kill", "kill", "stop", "full" if disk else "kill"))
    struck = ""
    while process.poll() is None:
        age = usage.take(process.pid)
        soak.dashboard.take(child_of(watcher))
        if age > life and not struck:
            struck = fault
            soak.faults[fault] += 1
            if fault == "full":
                fill(ballast)
            else:
                process.send_signal(signal.SIGKILL if fault == "kill" else signal.SIGTERM)
        time.sleep(0.3)
    assert process.stderr is not None
    said = process.stderr.read().decode(errors="replace")
    ballast.unlink(missing_ok=True)
    check_end(soak, struck, process.returncode, said)
    return process.returncode


def fill(ballast: Path) -> None:
    """Take all space that is left."""
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12, 1):
            with contextlib.suppress(OSError):
                while file.write(b"\0" * size):
                    pass


def check_end(soak: Soak, fault: str, code: int, said: str) -> None:
    """A kill leaves no word; a stop its code, unless it comes before Python has begun to listen;
    a full disk one line and code 3."""
    wanted = {
        "kill": (-signal.SIGKILL, 0),
        "stop": (143, 0, -signal.SIGTERM),
        "full": (3,),
        "": (0,),
    }[fault]
    soak.expect(code in wanted, f"after {fault or 'nothing'} the code was {code}: {said[-300:]!r}")
    soak.expect("Traceback" not in said, f"a traceback: {said[-300:]!r}")
    if fault == "full":
        lines = said.splitlines()
        right = len(lines) == 1 and "No space left" in said
        soak.expect(right, f"a full disk was told as {said[-300:]!r}")


def check_log(soak: Soak, epochs: int, per_epoch: int) -> str:
    """Every line can be read but those that a fault tore; every epoch is told, once, in order."""
    lines = (soak.run / "events.jsonl").read_bytes().split(b"\n")
    soak.expect(lines.pop() == b"", "the log does not end with a whole line")
    torn, told, events = 0, [], []
    for line in filter(None, lines):
        try:
            events.append(json.loads(line))
        except ValueError:
            torn += 1
    for event in events:
        if event["type"] == "run_started":  # what comes after its iteration is done again
            told = [epoch for epoch in told if epoch * per_epoch <= event["iteration"]]
        elif event["type"] == "evaluated" and event["iteration"] == event["epoch"] * per_epoch:
            told.append(event["epoch"])
    lost = sorted(set(range(1, epochs + 1)) - set(told))
    in_order = told == list(range(1, epochs + 1))
    soak.expect(in_order, f"epochs {lost[:9]} are not told, or out of order")
    soak.expect(torn <= soak.faults["kill"] + soak.faults["full"], f"{torn} torn lines")
    soak.expect(events[-1].get("status") == "finished", f"the log ends with {events[-1]}")
    return f"{len(events)} events, {torn} lines torn, {len(lost)} of {epochs} epochs lost"


def check_checkpoints(soak: Soak, reference: Path) -> str:
    """All can be read, and are those of the run that was left alone."""
    from lae_fast.runs import checkpoint
    from lae_fast.train import state as resume

    corrupt = 0
    for name in ("best", "last"):
        try:
            checkpoint.read(soak.run, name)
        except checkpoint.CheckpointError as error:
            corrupt += 1
            soak.expect(False, str(error))
        there, here = (
            (run / "checkpoints" / f"{name}.safetensors").read_bytes()
            for run in (reference, soak.run)
        )
        soak.expect(there == here, f"the {name} weights are others than without faults")
    for name in ("state", "state-previous"):
        try:
            checkpoint.read_state(soak.run, name)
        except checkpoint.CheckpointError as error:
            corrupt += 1
            soak.expect(False, str(error))
    soak.expect(resume.load(soak.run) is not None, "there is no state")
    return f"{corrupt} corrupt checkpoints"


def check_usage(soak: Soak, who: str, usage: Usage) -> str:
    growth = usage.growth()
    if growth is None:
        return f"{who}: too short to judge its memory"
    share, files = growth
    soak.expect(share < MOST_GROWTH, f"the {who} grew by {share:.2%}")
    soak.expect(files <= 0, f"the {who} has {files} more files open")
    return f"{who}: memory {share:+.2%}, open files {files:+d}"


def train_reference(soak: Soak, root: Path, seconds: float) -> tuple[Path, Usage, int, int]:
    """A run that is left alone, ended after an epoch; its epochs and their length."""
    usage, run = Usage(), root / "reference"
    process = subprocess.Popen(train_command(root, "reference", 10**6))
    while usage.take(process.pid) < seconds and process.poll() is None:
        time.sleep(0.3)
    subprocess.run(
        [*LAE, "runs", "stop", "reference", "--after", "epoch", "--run-root", str(root)],
        check=True,
        capture_output=True,
    )
    soak.expect(process.wait() == 0, f"the reference ended with {process.returncode}")
    lines = (run / "events.jsonl").read_text().splitlines()
    first, last = json.loads(lines[0]), json.loads(lines[-1])
    return run, usage, last["epochs"], first["iterations_per_epoch"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    base = Path(tempfile.mkdtemp(prefix="lae-soak-"))
    root = base / "disk"
    soak = Soak(root / NAME, random.Random(options.seed))
    began = time.monotonic()
    reference, alone, epochs, per_epoch = train_reference(soak, base, 60 * options.minutes * 0.45)
    print(f"soak: {epochs} epochs without a fault; now with", flush=True)
    resume = [*LAE, "train", "-q", "--run-root", str(root), "--resume", NAME]
    try:
        with small_disk(root) as disk:
            start_and_kill(soak, train_command(root, NAME, epochs))
            with watched(root) as dashboard:
                while train_until_fault(soak, resume, dashboard.pid, disk) != 0:
                    pass
                soak.expect(dashboard.poll() is None, "the dashboard ended")
            results = [
                f"{time.monotonic() - began:.0f} s, faults {dict(soak.faults)}",
                check_log(soak, epochs, per_epoch),
                check_checkpoints(soak, reference),
                check_usage(soak, "trainer", alone),
                check_usage(soak, "dashboard", soak.dashboard),
            ]
    finally:
        shutil.rmtree(base, ignore_errors=True)
    print("\n".join(f"soak: {line}" for line in results))
    if soak.complaints:
        sys.exit(f"soak: failed, {len(soak.complaints)} complaints")
    print("soak: nothing was lost")


if __name__ == "__main__":
    main()
