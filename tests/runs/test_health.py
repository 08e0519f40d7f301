"""What is judged of a run, and that the documentation prints the limits that are in force."""

from __future__ import annotations

import math
import os
import re
import socket
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from helpers.command_line import ROOT
from helpers.run_folders import NOW, evaluated, finished, progress, started
from lae_fast.runs import health
from lae_fast.runs.health import Threshold
from lae_fast.runs.state import RunState

OURS = {"dataset": "digits", "latent_dim": 2}


class TestStatus:
    def test_without_events_the_folder_and_its_age_decide(self) -> None:
        assert health.status(RunState(), NOW, created=NOW) == "not a run"
        assert health.status(RunState(OURS), NOW, created=NOW - 59) == "starting"
        assert health.status(RunState(OURS), NOW, created=NOW - 61) == "crashed"
        assert health.status(RunState(OURS), NOW) == "crashed"

    def test_silence_begins_after_its_limit(self) -> None:
        state = RunState(OURS)
        state.apply(started())
        assert health.status(state, NOW + health.SILENT.value) == "running"
        assert health.status(state, NOW + health.SILENT.value + 0.1) == "silent"

    @pytest.mark.parametrize(
        ("pid", "status"),
        [(os.getpid(), "running"), (2**22 + 1, "crashed")],
        ids=["this process", "no process"],
    )
    def test_a_process_of_this_machine_is_looked_for(self, pid: int, status: str) -> None:
        state = RunState(OURS)
        state.apply(started(host=socket.gethostname(), pid=pid))
        assert health.status(state, NOW) == status

    def test_the_end_has_the_last_word(self) -> None:
        state = RunState(OURS)
        state.apply(started(host=socket.gethostname(), pid=2**22 + 1))
        state.apply(finished(status="stopped"))
        assert health.status(state, NOW + 1e6) == "stopped"


class TestLimits:
    """A value at a limit is well, and one just beyond it is not."""

    def test_a_stuck_chain(self) -> None:
        assert health.stuck([0.01] * 200) is None
        found = health.stuck([0.0099] * 200)
        assert found is not None
        assert found.essential
        assert "--step-size" in found.text
        without_mh = health.stuck([0.0], mh=False)
        assert without_mh is not None
        assert not without_mh.essential
        assert health.stuck([math.nan]) is None

    @pytest.mark.parametrize(
        ("loss", "lowest", "bad"),
        [
            (200.0, 100.0, False),
            (200.1, 100.0, True),
            (10.9, 1.0, False),
            (11.1, 1.0, True),
            (-500.0, -1000.0, False),
            (0.1, -1000.0, True),
            (math.nan, 1.0, False),
        ],
    )
    def test_divergence(self, loss: float, lowest: float, bad: bool) -> None:
        assert (health.diverged(loss, lowest) is not None) == bad

    def test_unused_latents_after_the_first_iterations(self) -> None:
        assert health.unused_latents(0.0, 499, has_chain=True) is None
        assert health.unused_latents(0.5, 500, has_chain=True) is None
        chain = health.unused_latents(0.49, 500, has_chain=True)
        none = health.unused_latents(0.49, 500, has_chain=False)
        assert chain is not None
        assert none is not None
        assert "--temperature" in chain.text
        assert "--temperature" not in none.text

    def test_findings_of_a_running_training_worst_first(self) -> None:
        state = RunState(OURS)
        state.apply(started())
        state.apply(progress(20, train_loss=math.inf))
        state.apply(evaluated(1, split_rhat=1.51))
        found = health.while_running(state, "running", [100.0] * 60, [0.0] * 10, 16.0)
        names = [finding.name for finding in found]
        assert names == ["silent", "NaN", "stuck chain", "slow mixing"]
        assert not any(finding.ok for finding in found)
        assert [finding.essential for finding in found] == [True, True, True, False]
        assert "0:00:16" in found[0].text

    def test_a_recovery_is_no_divergence(self) -> None:
        state, rising = RunState(OURS), [100.0] * 40 + [210.0] * 20
        (found,) = health.while_running(state, "running", rising, [], None)
        assert found.name == "diverging"
        recovering = [*rising, *[205.0] * 20]
        assert health.while_running(state, "running", recovering, [], None) == []


def test_every_limit_is_used_and_has_a_reader() -> None:
    """The documentation prints them all, so none may be left over."""
    named = [name for name, value in vars(health).items() if isinstance(value, Threshold)]
    files = [file for folder in ("lae_fast", "cli") for file in (ROOT / folder).rglob("*.py")]
    words = Counter(word for file in files for word in re.findall(r"\w+", file.read_text()))
    assert [name for name in named if words[name] == 1] == []
    assert len(health.TABLE) == len(named)
    readers = {health.TRAINER, health.DASHBOARD, health.LIVE, health.RUNS, health.DIAGNOSE}
    assert {reader for threshold in health.TABLE for reader in threshold.by} == readers


@pytest.mark.skipif(not (ROOT / "docs").is_dir(), reason="the documentation is not here")
def test_the_documentation_prints_the_limits_in_force(tmp_path: Path) -> None:
    show = "import findings\nfor page, text in findings.pages(): print(page.read_text() == text)"
    env = {**os.environ, "PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}"}
    done = subprocess.run(
        [sys.executable, "-c", show],
        cwd=ROOT / "docs" / "scripts",
        env=env,
        text=True,
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["True"] * 4, "run python docs/scripts/findings.py"


@pytest.mark.skipif(not (ROOT / "docs").is_dir(), reason="the documentation is not here")
def test_options_that_remedies_name_exist() -> None:
    from lae_fast.config import field_types

    known = {name.replace("_", "-") for name in field_types()} | {"resume", "samples", "ais"}
    for threshold in health.TABLE:
        assert set(re.findall(r"--([a-z-]+)", threshold.remedy)) <= known
