"""The dashboard in a real terminal (tmux), from `lae train --dashboard` to `lae runs stop`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.command_line import SOURCES, wait_until
from helpers.run_folders import write_run
from lae_fast import runs

TMUX = shutil.which("tmux")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(TMUX is None, reason="no tmux")]
LAE = f"{sys.executable} -m lae_cli"


class Tmux:
    """A terminal of a given size with a shell in it."""

    def __init__(self, socket: Path, columns: int, lines: int, **environ: str) -> None:
        self._words = [str(TMUX), "-S", str(socket), "-f", "/dev/null"]
        settings = os.environ | SOURCES | {"OMP_NUM_THREADS": "1", "PS1": "$ "} | environ
        self("new-session", "-d", "-x", str(columns), "-y", str(lines), "sh", environ=settings)

    def __call__(self, *words: str, environ: dict[str, str] | None = None) -> str:
        done = subprocess.run(
            [*self._words, *words],
            env=environ,
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        return done.stdout

    def type(self, *keys: str) -> None:
        self("send-keys", *keys)

    def screen(self, *flags: str) -> str:
        return self("capture-pane", "-p", *flags)

    def wait(self, text: str, seconds: float = 120) -> str:
        deadline = time.monotonic() + seconds
        while text not in (screen := self.screen()):
            assert time.monotonic() < deadline, f"{text!r} has not appeared:\n{screen}"
            time.sleep(0.2)
        return screen


@pytest.fixture
def tmux(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Tmux]:
    environ = getattr(request, "param", {})
    terminal = Tmux(tmp_path / "socket", 80, 24, **environ)
    yield terminal
    terminal("kill-server")


def test_train_watch_pause_leave_come_back_stop(tmux: Tmux, tmp_path: Path) -> None:
    root = tmp_path / "runs"
    where = f"--run-root {root}"
    tmux.type(f"{LAE} train --dashboard --name mine {where} --epochs 100000", "Enter")
    tmux.wait("running")
    tmux.wait("nats/image")
    tmux.type("p")
    tmux.wait("paused")
    tmux.type("p")
    tmux.wait("resumed")
    for key, words in (("2", "would-be"), ("3", "ring"), ("4", "epoch"), ("5", "of 1 runs")):
        tmux.type(key)
        tmux.wait(words)
    tmux("resize-window", "-x", "120", "-y", "40")
    tmux.type("1")
    tmux.wait("split R-hat")
    tmux.type("q")
    screen = tmux.wait("the training continues in")
    assert f"lae runs stop {root / 'mine'}" in screen.replace("\n", "")
    assert runs.summarise(root / "mine").active
    tmux.type("clear", "Enter")
    # Keys typed before the shell has its terminal back are lost, so the words waited for are
    # none that the dashboard shows.
    tmux.type(f"{LAE} dash {where}; clear; echo back in the sh''ell", "Enter")
    tmux.wait("mine  running")
    tmux.type("q")
    tmux.wait("back in the shell")
    tmux.type(f"{LAE} runs stop mine {where}", "Enter")
    tmux.wait("mine: stopping now")
    wait_until(lambda: not runs.summarise(root / "mine").active)
    assert runs.summarise(root / "mine").status == "stopped"


def opened(tmux: Tmux, root: Path, *flags: str) -> str:
    write_run(root, "done")
    tmux.type(f"{LAE} dash --run-root {root} {' '.join(flags)}", "Enter")
    tmux.wait("done  finished")
    tmux.type("3")
    tmux.wait("classes")
    return tmux.screen("-e")


@pytest.mark.parametrize("tmux", [{"LC_ALL": "C", "LANG": "C"}, {"LC_ALL": "POSIX"}], indirect=True)
def test_ascii_where_the_terminal_has_no_more(tmux: Tmux, tmp_path: Path) -> None:
    assert opened(tmux, tmp_path / "runs").isascii()


GREYS = {"0", "7", "8", "15", "16", "59", "102", "145", "188", "231", *map(str, range(232, 256))}


def colours(screen: str) -> set[str]:
    """The kinds of colour in captured escapes: true, 256, 16; greys do not count."""
    kinds = set()
    for part in screen.split("\x1b[")[1:]:
        codes = part.split("m", 1)[0].split(";")
        for place, code in enumerate(codes):
            if code in ("38", "48"):
                kind, value = codes[place + 1], codes[place + 2 : place + 5]
                if kind == "2" and len(set(value)) > 1:
                    kinds.add("true")
                elif kind == "5" and value[0] not in GREYS:
                    kinds.add("256")
            elif len(code) > 1 and code[:-1] in ("3", "4", "9", "10") and code[-1] in "123456":
                kinds.add("16")
    return kinds


@pytest.mark.parametrize(
    ("tmux", "term", "most"),
    [({"NO_COLOR": "1"}, "xterm-256color", set()), ({}, "xterm", {"16"})],
    indirect=["tmux"],
)
def test_no_more_colours_than_there_are(
    tmux: Tmux, tmp_path: Path, term: str, most: set[str]
) -> None:
    tmux.type(f"export TERM={term}; unset COLORTERM", "Enter")
    assert colours(opened(tmux, tmp_path / "runs")) == most
