"""`lae train` in several processes: `--nproc`, torchrun, and what happens when one of them dies."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from helpers.command_line import SOURCES, wait_until
from lae_fast import runs

pytestmark = pytest.mark.slow
ENVIRON = os.environ | SOURCES | {"OMP_NUM_THREADS": "1"}
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
LAE = ["-m", "lae_cli", "train"]
SETTINGS = ["--steps=2", "--hidden=16", "--batch-size=150"]
SETTINGS += ["--validation-fraction=0.4", "--checkpoint-interval=0"]


def start(words: list[str], root: Path, *more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*words, *SETTINGS, "--run-root", str(root), *more],
        env=ENVIRON,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def finish(job: subprocess.Popen[str]) -> tuple[int, str, str]:
    try:
        out, err = job.communicate(timeout=120)
    finally:
        if job.poll() is None:
            os.killpg(job.pid, signal.SIGKILL)
    return job.returncode, out, err


def wait_for(run: Path, enough: Callable[[str], bool]) -> None:
    events = run / "events.jsonl"
    wait_until(lambda: events.exists() and enough(events.read_text()), 90)


def trainers(run: Path) -> list[int]:
    """Process numbers of the ranks, the first one's first."""
    found = []
    for status in Path("/proc").glob("[0-9]*/environ"):
        try:
            words = (status.parent / "cmdline").read_text().split("\0")
            environ = dict(pair.split("=", 1) for pair in status.read_text().split("\0") if pair)
        except (OSError, ValueError):
            continue
        if run.name in " ".join(words) and "RANK" in environ:
            found.append((int(environ["RANK"]), int(status.parent.name)))
    return [pid for _, pid in sorted(found)]


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "checkpoints" / "last.safetensors")


def test_two_processes_train_as_one(tmp_path: Path) -> None:
    short = ("--epochs", "2", "--json", "--quiet")
    jobs = [
        start([sys.executable, *LAE, "--nproc", "2"], tmp_path, "--name", "two", *short),
        start([*TORCHRUN, *LAE], tmp_path, "--name", "torchrun", *short),
        start([sys.executable, *LAE], tmp_path, "--name", "one", *short),
    ]
    results = {}
    for job in jobs:
        code, out, said = finish(job)
        assert code == 0, said
        result = json.loads(out)
        results[result["run"]] = result
    one = weights(tmp_path / "one")
    for name in ("two", "torchrun"):
        assert results[name]["iterations"] == results["one"]["iterations"]
        for key, value in weights(tmp_path / name).items():
            torch.testing.assert_close(value, one[key], rtol=1e-2, atol=1e-3)
    assert all(
        torch.equal(a, b)
        for a, b in zip(
            *map(dict.values, map(weights, (tmp_path / "two", tmp_path / "torchrun"))), strict=True
        )
    )


def test_a_rank_that_dies_ends_the_job_and_it_can_go_on(tmp_path: Path) -> None:
    job = start(
        [sys.executable, *LAE, "--nproc", "2"], tmp_path, "--name", "dies", "--epochs", "100000"
    )
    run = tmp_path / "dies"
    wait_for(run, lambda text: '"progress"' in text)
    os.kill(trainers(run)[1], signal.SIGKILL)
    began = time.monotonic()
    code, _, err = finish(job)
    assert time.monotonic() - began < 60
    assert code == 1
    assert "rank 1 died (SIGKILL)" in err
    assert "Traceback" not in err
    done = int(re.findall(r'"iterations?": (\d+)', (run / "events.jsonl").read_text())[-1])
    words = [sys.executable, "-m", "lae_cli", "train", "--resume", str(run), "--max-time", "1"]
    again = subprocess.run(
        words, env=ENVIRON, capture_output=True, text=True, timeout=120, check=True
    )
    assert "Traceback" not in again.stderr
    starts = re.findall(r'"run_started".*?"iteration": (\d+)', (run / "events.jsonl").read_text())
    assert starts[0] == "0"
    assert int(starts[1]) == done > 0


@pytest.mark.parametrize("victim", [0, 1])
def test_torchrun_starts_a_training_anew_and_it_goes_on(tmp_path: Path, victim: int) -> None:
    words = [*TORCHRUN, "--max-restarts", "1", *LAE]
    job = start(words, tmp_path, "--name", "again", "--epochs", "100000")
    run = tmp_path / "again"
    try:
        wait_for(run, lambda text: text.count('"progress"') > 1)
        os.kill(trainers(run)[victim], signal.SIGKILL)
        wait_for(run, lambda text: '"progress"' in "".join(text.split('"run_started"')[2:]))
        os.kill(trainers(run)[0], signal.SIGTERM)
        finish(job)
    finally:
        for pid in trainers(run):
            os.kill(pid, signal.SIGKILL)
        job.kill()
    starts = re.findall(r'"run_started".*?"iteration": (\d+)', (run / "events.jsonl").read_text())
    assert starts[0] == "0"
    assert int(starts[1]) > 0


def test_ctrl_c_saves_and_says_so(tmp_path: Path) -> None:
    job = start(
        [sys.executable, *LAE, "--nproc", "2"], tmp_path, "--name", "stops", "--epochs", "100000"
    )
    run = tmp_path / "stops"
    wait_for(run, lambda text: '"progress"' in text)
    os.kill(job.pid, signal.SIGINT)
    code, _, err = finish(job)
    assert code == 130
    assert "Traceback" not in err
    assert runs.summarise(run).status == "interrupted"


@pytest.mark.parametrize("nproc", ["1", "2"])
def test_bad_input_is_one_line(tmp_path: Path, nproc: str) -> None:
    code, out, err = finish(
        start([sys.executable, *LAE, "--nproc", nproc], tmp_path, "--dataset", "nothing.npz")
    )
    assert code == 2
    assert out == ""
    assert len(err.strip().splitlines()) == 1, err
