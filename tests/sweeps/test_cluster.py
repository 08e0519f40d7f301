"""Sweeps on Slurm, through submitit and a stand-in for Slurm's commands, and on Ray.

The jobs are real: batch script, pickle, process, training.
"""

from __future__ import annotations

import importlib
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from helpers import fake_slurm
from helpers.command_line import SOURCES, run, wait_until
from lae_fast import runs
from lae_fast.config import ConfigError
from lae_fast.sweeps import cluster, executor
from lae_fast.sweeps.job import Job

Capsys = pytest.CaptureFixture[str]
TINY = "[base]\nhidden = 16\ndepth = 1\nlatent-dim = 2\ndevice = 'cpu'\npatience = 0\nepochs = {}\n"
GRID = "[grid]\nsteps = [2, 4]\n[slurm]\npartition = 'dev'\n"
linux = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="reads /proc")


@pytest.fixture
def slurm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Slurm's commands on the PATH; the folder that holds the states of tasks."""
    pytest.importorskip("submitit")
    for name, value in fake_slurm.install(tmp_path / "slurm").items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PYTHONPATH", SOURCES["PYTHONPATH"])
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "slurm" / "states"


def sweep(capsys: Capsys, epochs: int, *args: str) -> tuple[int, str, str]:
    Path("try.toml").write_text(TINY.format(epochs) + GRID)
    return run(capsys, "sweep", "try.toml", *args)


def _trained(name: str) -> bool:
    summary = runs.summarise(Path("runs/try") / name)
    return summary.status == "running" and summary.epochs > 0


@linux
@pytest.mark.slow
def test_points_run_as_an_array(slurm: Path, capsys: Capsys) -> None:
    code, out, err = sweep(capsys, 1, "--jobs", "2", "--json")
    assert code == 0, err
    assert "on Slurm, partition dev" in err
    assert [p["status"] for p in json.loads(out)["points"]] == ["finished"] * 2
    script = (slurm / "script-1").read_text()
    assert "--array=0-1%2" in script
    assert "--partition=dev" in script
    assert "--cpus-per-task=1" in script


@linux
@pytest.mark.slow
def test_detached_jobs_are_found_again_and_an_interrupt_cancels_them(
    slurm: Path, capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, err = sweep(capsys, 5000, "--detach")
    assert (code, out) == (0, "")
    assert "2 points submitted" in err
    wait_until(lambda: _trained("steps-2"), 120)
    process = subprocess.Popen(
        [sys.executable, "-m", "lae_cli", "sweep", "try.toml"],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    process.stderr.readline()
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert not (slurm / "script-2").exists()  # the watcher submitted nothing anew
    assert [(slurm / f"1_{n}").read_text() for n in (0, 1)] == ["CANCELLED"] * 2
    assert [summary.status for summary in runs.list_runs("runs/try")] == ["interrupted"]


@linux
@pytest.mark.slow
def test_a_job_that_slurm_takes_away_queues_again_and_goes_on(slurm: Path, capsys: Capsys) -> None:
    sweep(capsys, 40, "--detach")
    wait_until(lambda: _trained("steps-2"), 120)
    fake_slurm.send("1_0", signal.SIGUSR2)
    wait_until(lambda: (slurm / "1_1").read_text() == "COMPLETED", 240)
    assert {summary.status for summary in runs.list_runs("runs/try")} == {"finished"}
    log = Path("runs/try/.jobs/steps-2.log").read_text()
    assert (log.count("training "), log.count("interrupted after")) == (2, 1)


def test_an_unknown_option_of_slurm_is_one_line(slurm: Path, capsys: Capsys) -> None:
    Path("try.toml").write_text("[grid]\nsteps = [2]\n[slurm]\npartion = 'dev'\n")
    code, out, err = run(capsys, "sweep", "try.toml")
    assert (code, out) == (2, "")
    assert "[slurm]: unknown key 'partion'; did you mean 'partition'?" in err
    assert err.count("\n") == 1


def test_a_refusal_of_slurm_is_one_line(slurm: Path, capsys: Capsys) -> None:
    script = slurm.parent / "sbatch"
    script.write_text("#!/bin/sh\necho 'sbatch: error: invalid partition' >&2\nexit 1\n")
    code, out, err = sweep(capsys, 1)
    assert (code, out) == (2, "")
    assert "Slurm refused the jobs: " in err
    assert "invalid partition" in err
    assert "Traceback" not in err


def test_auto_takes_what_is_there(slurm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert executor.choose({}) == "slurm"
    assert executor.choose({"SLURM_JOB_ID": "1"}) == "local"
    monkeypatch.setenv("PATH", "/nowhere")
    assert executor.choose({}) == "local"
    assert executor.choose({"RAY_ADDRESS": "auto"}) == "ray"


@pytest.mark.parametrize(
    ("place", "module", "extra"), [("slurm", "submitit", "cluster"), ("ray", "ray", "ray")]
)
def test_a_missing_library_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, module: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigError, match=rf"needs {module}: pip install 'lae-fast\[{extra}\]'"):
        executor.make(place, None, tmp_path, {}, cuda=False)


def test_ray_options_are_checked_first(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'num_cpus'"):
        cluster.Ray({"num_cpu": 2})
    with pytest.raises(ConfigError, match="--jobs does not apply"):
        executor.make("ray", 2, tmp_path, {}, cuda=False)


def test_a_job_travels_as_plain_values() -> None:
    import pickle

    job = Job("/root", "name", 2, "/cwd")
    job.stop()
    assert job.__reduce__() == (Job, ("/root", "name", 2, "/cwd"))
    assert pickle.loads(pickle.dumps(job)) == job


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="no ray")
def test_points_run_on_ray(capsys: Capsys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", SOURCES["PYTHONPATH"])
    code, out, err = sweep(capsys, 1, "--on", "ray", "--json")
    assert code == 0, err
    assert [p["status"] for p in json.loads(out)["points"]] == ["finished"] * 2
