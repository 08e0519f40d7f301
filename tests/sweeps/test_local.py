"""Sweeps on this machine: skipped, continued, failed and interrupted points; what is printed.

Points are processes of their own that train with the stand-in trainer, but for the tests marked
slow, which train on the digits.
"""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from helpers import fake_sweep
from helpers.command_line import ROOT, SOURCES, modules_after, run, screen, wait_until
from lae_fast import runs
from lae_fast.sweeps import drive, job
from lae_fast.sweeps.folder import Note, SweepFolder
from lae_fast.sweeps.table import rows, varied

Capsys = pytest.CaptureFixture[str]
GRID = "[base]\nepochs = 2\n[grid]\nsteps = [2, 4]\n"


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The stand-in trainer in every point; the sweep ``try.toml`` lies in ``runs/try``."""
    monkeypatch.setattr(job, "COMMAND", fake_sweep.COMMAND)
    monkeypatch.setattr(drive, "check_points", lambda points, here: None)
    monkeypatch.setattr(drive, "POLL", 0.02)
    monkeypatch.setenv("PYTHONPATH", SOURCES["PYTHONPATH"])
    monkeypatch.setenv("LAE_RUN_ROOT", str(tmp_path / "runs"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "runs" / "try"


def sweep(capsys: Capsys, text: str, *args: str) -> tuple[int, str, str]:
    Path("try.toml").write_text(text)
    return run(capsys, "sweep", "try.toml", *args)


def local(capsys: Capsys, text: str, *args: str) -> tuple[int, str, str]:
    return sweep(capsys, text, "--on", "local", "--jobs", "2", *args)


def test_points_are_run_folders_and_results_a_table(fake: Path, capsys: Capsys) -> None:
    code, out, err = local(capsys, f"seeds = 2\n{GRID}", "--csv", "out.csv")
    assert code == 0, err
    assert {path.name for path in runs.folders(fake)} == {
        f"steps-{steps}_seed-{seed}" for steps in (2, 4) for seed in (0, 1)
    }
    assert {summary.status for summary in runs.list_runs(fake)} == {"finished"}
    lines = [line.split() for line in out.splitlines()]
    (row,) = [line for line in lines if line[:1] == ["4"]]
    losses = [s.best_val_loss for s in runs.list_runs(fake) if s.steps == 4]
    mean = sum(loss for loss in losses if loss is not None) / 2
    assert row[1:5] == [f"{mean:.2f}", "±", row[3], "(2)"]
    assert row[-1] == "finished"
    table = list(csv.DictReader(Path("out.csv").read_text().splitlines()))
    assert {(line["steps"], line["seed"]) for line in table} == {
        (steps, seed) for steps in "24" for seed in "01"
    }
    # The folder of a sweep holds runs and is none.
    assert runs.list_runs(fake.parent) == []
    assert "4 points; on this machine, 2 at a time" in err
    assert "\x1b" not in err


def test_the_same_command_again_runs_nothing(fake: Path, capsys: Capsys) -> None:
    local(capsys, GRID)
    before = {path: path.stat().st_mtime_ns for path in fake.rglob("*") if path.is_file()}
    code, out, err = local(capsys, GRID)
    assert code == 0
    assert "nothing is left to run" in err
    assert "finished" in out
    assert {path: path.stat().st_mtime_ns for path in fake.rglob("*") if path.is_file()} == before


def test_dry_run_and_show_write_nothing(fake: Path, capsys: Capsys) -> None:
    assert sweep(capsys, GRID, "--dry-run") == (0, "steps-2  waiting\nsteps-4  waiting\n", "")
    code, out, _ = sweep(capsys, GRID, "--show", "--json")
    assert code == 0
    assert json.loads(out)["points"][0]["status"] == "waiting"
    assert not fake.exists()


@pytest.mark.parametrize(
    ("hidden", "why"), [(13, "13 brings bad luck"), (14, "killed by SIGKILL; out of memory?")]
)
def test_a_failed_point_does_not_end_the_sweep(
    fake: Path, capsys: Capsys, monkeypatch: pytest.MonkeyPatch, hidden: int, why: str
) -> None:
    text = f"[base]\nepochs = 1\n[grid]\nhidden = [{hidden}, 16]"
    code, out, err = local(capsys, text, "--json")
    assert code == 1
    statuses = {p["point"]: (p["status"], p["error"]) for p in json.loads(out)["points"]}
    assert statuses == {f"hidden-{hidden}": ("failed", why), "hidden-16": ("finished", None)}
    assert f"hidden-{hidden} failed: {why}" in err
    monkeypatch.setenv("FAKE_FIXED", "1")
    code, _, err = local(capsys, text)
    assert code == 1
    assert "--retry-failed tries 1 again" in err
    code, out, _ = local(capsys, text, "--json", "--retry-failed")
    assert code == 0
    assert {p["status"] for p in json.loads(out)["points"]} == {"finished"}


def test_threads_are_shared_out_and_kept_when_a_point_goes_on(
    fake: Path, capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lae_fast.sweeps.local.cores", lambda: 6)
    SweepFolder(fake).write([])
    SweepFolder(fake).write_note("steps-4", Note(threads=5))
    local(capsys, GRID)
    logs = {name: SweepFolder(fake).log(name).read_text() for name in ("steps-2", "steps-4")}
    assert "threads 3" in logs["steps-2"]
    assert "threads 5" in logs["steps-4"]


def test_a_sweep_is_driven_by_one_process(fake: Path, capsys: Capsys) -> None:
    with SweepFolder(fake).lock():
        code, _, err = local(capsys, GRID)
    assert code == 2
    assert "another `lae sweep` runs" in err


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (["--on", "local", "--detach"], "--detach is for Slurm"),
        (["--on", "moon"], "'moon' is not one of"),
        (["--jobs", "0", "--on", "local"], "--jobs"),
        (["--csv", "none/out.csv", "--on", "local"], "there is no folder none"),
    ],
)
def test_bad_options_are_one_line(fake: Path, capsys: Capsys, args: list[str], text: str) -> None:
    code, out, err = sweep(capsys, GRID, *args)
    assert (code, out) == (2, "")
    assert text in err
    assert err.count("\n") == 1
    assert not fake.exists()


def test_data_that_cannot_be_had_is_said_before_anything_runs(
    capsys: Capsys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import numpy as np

    monkeypatch.chdir(tmp_path)
    np.save("flat.npy", np.zeros(3))
    code, out, err = local(capsys, "[grid]\ndataset = ['digits', 'flat.npy']")
    assert (code, out) == (2, "")
    assert "flat.npy has shape (3,)" in err
    np.save("unlabelled.npy", np.zeros((20, 8, 8), np.uint8))
    code, _, err = local(
        capsys, "[base]\ndataset = 'unlabelled.npy'\n[grid]\nconditional = [false, true]"
    )
    assert code == 2
    assert "point conditional: --conditional needs" in err
    assert not Path("runs").exists()


def _spawn(tmp_path: Path, *args: str, **extra: str) -> dict[str, Any]:
    environ = SOURCES | {"LAE_RUN_ROOT": str(tmp_path / "runs"), "FAKE_PAUSE": "0.01"}
    words = [sys.executable, str(ROOT / "tests/helpers/fake_sweep.py"), "sweep", "try.toml"]
    return {
        "args": [*words, "--on", "local", "--jobs", "2", *args],
        "env": os.environ | environ | extra,
        "cwd": tmp_path,
        "text": True,
    }


def _training(root: Path) -> list[runs.Summary]:
    found = runs.list_runs(root) if root.exists() else []
    return [summary for summary in found if summary.status == "running" and summary.epochs]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_saves_the_points_and_the_same_command_goes_on(
    fake: Path, capsys: Capsys, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    text = "[base]\nepochs = 60\n[grid]\nsteps = [2, 4, 8]"
    (tmp_path / "try.toml").write_text(text)
    process = subprocess.Popen(**_spawn(tmp_path), stderr=subprocess.PIPE, stdout=subprocess.PIPE)
    wait_until(lambda: len(_training(fake)) == 2)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert "Stopping; the running points" in err
    assert "3 points are not done; run the same command again" in err
    assert "Traceback" not in err
    assert out.count("interrupted") == 2
    assert sorted(summary.status for summary in runs.list_runs(fake)) == ["interrupted"] * 2
    states = drive.states(SweepFolder(fake), SweepFolder(fake).points())
    assert [s.status for s in states] == ["interrupted", "interrupted", "waiting"]
    code, out, _ = local(capsys, text, "--json")
    assert code == 0
    assert [p["status"] for p in json.loads(out)["points"]] == ["finished"] * 3
    log = SweepFolder(fake).log("steps-2").read_text()
    assert (log.count("training "), log.count("interrupted")) == (2, 1)


def test_points_end_with_whoever_started_them(fake: Path, tmp_path: Path) -> None:
    (tmp_path / "try.toml").write_text("[base]\nepochs = 500\npatience = 0\n[grid]\nsteps = [2, 4]")
    process = subprocess.Popen(**_spawn(tmp_path), stderr=subprocess.DEVNULL)
    wait_until(lambda: len(_training(fake)) == 2)
    process.kill()
    process.wait()
    wait_until(lambda: [s.status for s in runs.list_runs(fake)] == ["interrupted"] * 2)


def test_the_screen_shows_running_points(fake: Path, tmp_path: Path) -> None:
    (tmp_path / "try.toml").write_text("[base]\nepochs = 8\n[grid]\nsteps = [2, 4]")
    shown = screen(24, 80, **_spawn(tmp_path, TERM="xterm-256color"))
    assert "of 8" in shown
    assert "2 running" in shown
    assert "Ctrl-C stops" in shown


def test_old_points_stay_in_the_table_under_what_tells_them_apart(
    fake: Path, capsys: Capsys
) -> None:
    local(capsys, GRID)
    code, out, _ = local(capsys, GRID.replace("epochs = 2", "epochs = 1").replace("2, 4", "2"))
    assert code == 0
    assert out.count("finished *") == 2
    assert "* no longer in the file" in out
    folder = SweepFolder(fake)
    states = drive.states(folder, folder.points())
    assert varied(states) == ["steps", "epochs"]
    assert len(rows(states, ["steps", "epochs"])) == 3


def test_listing_points_needs_no_torch(tmp_path: Path) -> None:
    (tmp_path / "try.toml").write_text(GRID)
    code, out, modules = modules_after("sweep", str(tmp_path / "try.toml"), "--dry-run")
    assert (code, out) == (0, "steps-2  waiting\nsteps-4  waiting\n")
    assert "torch" not in modules


@pytest.mark.slow
def test_an_interrupted_sweep_ends_with_the_bytes_of_one_that_was_not(tmp_path: Path) -> None:
    """Real trainings, stopped in the middle and continued."""
    base = "[base]\nhidden = 64\ndepth = 1\nepochs = 40\npatience = 0\ndevice = 'cpu'\n"
    (tmp_path / "try.toml").write_text(base + "[grid]\nsteps = [10, 20]\n")
    command = [sys.executable, "-m", "lae_cli", "sweep", "try.toml", "--on", "local", "--jobs", "2"]
    environ = os.environ | SOURCES
    at: dict[str, Any] = {"cwd": tmp_path, "env": environ, "stdout": subprocess.DEVNULL}
    process = subprocess.Popen([*command, "--run-root", "a"], **at)
    wait_until(lambda: len(_training(tmp_path / "a" / "try")) == 2)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=120) == 130
    statuses = {summary.status for summary in runs.list_runs(tmp_path / "a" / "try")}
    assert "interrupted" in statuses
    for root in "ab":
        assert subprocess.run([*command, "--run-root", root], check=False, **at).returncode == 0
    names = [path.name for path in runs.folders(tmp_path / "a" / "try")]
    assert len(names) == 2
    for name in names:
        one, other = (
            (tmp_path / root / "try" / name / "checkpoints" / "last.safetensors").read_bytes()
            for root in "ab"
        )
        assert one == other
