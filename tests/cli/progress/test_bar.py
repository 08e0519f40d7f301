"""The line that says how far a verb is: on a terminal, and nowhere else."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest

from helpers.command_line import SOURCES, run, screen
from lae_cli.progress import bar
from lae_cli.progress.bar import Bar, shown
from lae_fast.progress import tell

STORY = """
import time
from lae_cli.progress.bar import shown
from lae_fast.progress import steps
with shown("eval small"):
    for _ in steps(range(10)):
        time.sleep(0.15)
"""


def test_it_says_what_is_left(capsys: pytest.CaptureFixture[str]) -> None:
    now = [0.0]
    line = Bar("eval small", clock=lambda: now[0])
    line(0.1)
    assert capsys.readouterr().err == ""  # too soon to be worth a line
    now[0] = 30.0
    line(0.25)
    text = capsys.readouterr().err
    assert "eval small" in text
    assert " 25%" in text
    assert "1:30 left" in text


def test_where_only_the_most_is_known_it_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    now = [0.0]
    line = Bar("attack small", clock=lambda: now[0])
    with line.at_most():
        now[0] = 10.0
        line(0.1)
        assert "at most 1:30 left" in capsys.readouterr().err
    line(0.5)  # the training ended early; what follows has its own pace
    now[0] = 40.0
    line(0.6)
    text = capsys.readouterr().err
    assert "2:00 left" in text
    assert "at most" not in text


def test_a_terminal_gets_one_line_that_goes_away() -> None:
    environ = os.environ | SOURCES | {"TERM": "xterm-256color", "LC_ALL": "C.UTF-8"}
    text = screen(24, 60, args=[sys.executable, "-c", STORY], env=environ)
    assert "\n" not in text
    assert re.search(r"eval small  [━─]{24} +\d+%  0:0\d left", text)
    assert text.endswith("\r\x1b[K")
    assert all(len(part) < 60 for part in text.split("\r\x1b[K"))


def test_a_pipe_gets_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bar, "PATIENCE", 0.0)
    with shown("eval small") as line:
        tell(0.5)
    assert line is None
    assert capsys.readouterr() == ("", "")


def test_an_error_leaves_no_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "eval", "none", "--run-root", str(tmp_path))
    assert (code, out, err.count("\n")) == (2, "", 1)
