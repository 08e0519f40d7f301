"""The end of a training: what to type next, and never a silent end without training."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest

from helpers.command_line import run
from helpers.run_folders import PER_EPOCH, finished, started
from lae_cli.progress.farewell import farewell
from lae_cli.progress.view import RunView
from lae_fast.config import TrainConfig

Capsys = pytest.CaptureFixture[str]


def lines(config: TrainConfig, *, before: int = 0, **end: Any) -> list[str]:
    view = RunView(config)
    view.apply(started(most=config.epochs, run="mine", iteration=before * PER_EPOCH))
    view.apply(finished(epochs=end.pop("epochs"), **end))
    return farewell(view, config)


def test_the_next_commands_name_the_run() -> None:
    config = TrainConfig(epochs=50)
    shown = lines(config, epochs=20, best_epoch=18, status="interrupted", elapsed=9.0)
    assert [line.split("  ")[-1].strip() for line in shown] == [
        "lae sample mine",
        "lae dash mine",
        "lae train --resume mine",
    ]
    there = lines(
        TrainConfig(epochs=50, run_root="my runs"),
        epochs=20,
        best_epoch=18,
        status="interrupted",
        elapsed=9.0,
    )
    assert there[0].endswith("lae sample 'my runs/mine'")


@pytest.mark.parametrize(
    ("settings", "end", "why", "flags"),
    [
        ({"epochs": 20}, {"status": "finished"}, "20 epochs are done", "--epochs 40"),
        (
            {"epochs": 90, "patience": 5},
            {"status": "stopped-early", "best_epoch": 15},
            "not fallen for 5 epochs",
            "--patience 10",
        ),
        (
            {"epochs": 90, "max_time": 45.0},
            {"status": "time-limit", "elapsed": 45.2},
            "0:45 of training are used up",
            "--max-time 90",
        ),
        (
            {"epochs": 20, "max_time": 45.0},
            {"status": "finished", "elapsed": 145.2},
            "used up",
            "--epochs 40 --max-time 191",
        ),
    ],
)
def test_every_limit_that_was_reached_can_be_moved(
    settings: dict[str, Any], end: dict[str, Any], why: str, flags: str
) -> None:
    facts = {"epochs": 20, "best_epoch": 19, "elapsed": 9.0, **end}
    shown = lines(TrainConfig(**settings), **facts)
    assert shown[-1].endswith(f"--resume mine {flags}")
    assert not any("nothing was left" in line for line in shown)
    again = lines(TrainConfig(**settings), before=20, **facts)
    assert again[0].startswith("nothing was left to train: ")
    assert why in again[0]
    assert again[1:] == shown


def test_it_never_ends_at_once_in_silence_and_the_command_it_names_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    small = ["--hidden", "8", "--name", "mine", "--max-time", "0.001", "--device", "cpu"]
    code, out, err = run(capsys, "train", *small)
    assert code == 0
    assert "train --resume" not in out
    for _ in range(2):  # whatever is typed, the state stays
        code, _, err = run(capsys, "train", "--resume", "latest", "--epochs", "2000")
        assert code == 0
        assert "nothing was left to train: its 0:00 of training are used up" in err
        assert "resumed at iteration 1," in err
    words = shlex.split(err.splitlines()[-1].partition("lae ")[2])
    assert words[:3] == ["train", "--resume", "mine"]
    words[words.index("--max-time") + 1] = "1e9"  # the test's machine may be slow
    code, _, err = run(capsys, *words, "--epochs", "1")
    assert "nothing was left" not in err
    code, _, err = run(capsys, "train", "--resume", "mine", "--quiet")
    assert (code, err) == (0, "")
