"""``lae train --dashboard``: the training that goes on by itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.command_line import ROOT, SOURCES, python, wait_until
from lae_cli.processes import background
from lae_cli.processes.background import Background, EarlyEndError
from lae_fast import runs
from lae_fast.config import TrainConfig
from lae_fast.config.settings import resolve

FAKE = [str(ROOT / "tests/helpers/fake_trainer.py")]


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stand-in trainer in the background."""
    made = background.command

    def command(*args: object) -> list[str]:
        words = made(*args)  # type: ignore[arg-type]
        return [words[0], *FAKE, *words[3:]]

    monkeypatch.setattr(background, "command", command)
    monkeypatch.setenv("PYTHONPATH", SOURCES["PYTHONPATH"])


def start(root: Path, **given: object) -> Background:
    given = {"run_root": str(root)} | given
    return Background(resolve(given), given, None)


@pytest.mark.usefixtures("fake")
def test_the_run_folder_is_found_and_takes_the_log(tmp_path: Path) -> None:
    training = start(tmp_path / "runs", epochs=2)
    run = training.wait_for_run()
    assert run.parent == tmp_path / "runs"
    assert run.name.startswith("digits-lae-")
    wait_until(lambda: training.exit_code is not None)
    assert training.exit_code == 0
    assert runs.summarise(run).status == "finished"
    assert "finished" in (run / runs.LOG_FILE).read_text()
    assert [path.name for path in (tmp_path / "runs").iterdir()] == [run.name]


@pytest.mark.usefixtures("fake")
def test_what_goes_wrong_before_the_run_is_passed_on(tmp_path: Path) -> None:
    with pytest.raises(EarlyEndError) as caught:
        start(tmp_path, name="not a name").wait_for_run()
    assert caught.value.code == 2
    assert "run name 'not a name' must be" in caught.value.text
    assert list(tmp_path.iterdir()) == []


def test_a_taken_name_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    with pytest.raises(runs.RunError, match="run 'mine' exists"):
        start(tmp_path, name="mine")


def test_the_command_line_says_the_same_settings() -> None:
    given = {"steps": 3, "mh": False, "prior": True, "scale": None, "dataset": "a b.npy"}
    words = background.command(given, "my.toml")[3:]
    assert words == [
        "train",
        "--config",
        "my.toml",
        "--steps=3",
        "--no-mh",
        "--prior",
        "--scale=none",
        "--dataset=a b.npy",
    ]
    assert resolve(given) == TrainConfig(steps=3, mh=False, dataset="a b.npy")


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_no_terminal_no_training(tmp_path: Path, more: list[str]) -> None:
    root = tmp_path / "runs"
    done = python("-m", "lae_cli", "train", "--dashboard", "--run-root", str(root), *more)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert not root.exists()
