"""The command line, in this process, in one of its own, and in a terminal."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from lae_cli.main import lae, main

ROOT = Path(__file__).resolve().parents[2]
SOURCES = {"PYTHONPATH": f"{ROOT}:{ROOT / 'cli'}"}
"""What a process needs in its environment to import this checkout."""


def python(*args: str, **extra: str) -> subprocess.CompletedProcess[str]:
    environ = os.environ | SOURCES | {"LAE_DEBUG": ""} | extra
    words = [sys.executable, *args]
    return subprocess.run(
        words, capture_output=True, text=True, env=environ, timeout=120, check=False
    )


def run(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str, str]:
    """Run ``lae ARGS`` in this process; exit code, stdout, stderr."""
    with pytest.raises(SystemExit) as stopped:
        main(args)
    out, err = capsys.readouterr()
    return int(stopped.value.code or 0), out, err


def modules_after(*args: str) -> tuple[int, str, set[str]]:
    """Run ``lae ARGS`` in a process of its own; exit code, stdout, the modules it imported."""
    code = "import sys\nfrom lae_cli.main import main\n"
    code += "try: main(sys.argv[1:])\nfinally: print(*sys.modules, file=sys.stderr)"
    done = python("-c", code, *args)
    return done.returncode, done.stdout, set(done.stderr.splitlines()[-1].split())


def wait_until(condition: Callable[[], object], seconds: float = 60) -> None:
    """Wait for another process; fail when nothing has come of it."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.05)


def screen(rows: int, columns: int, **process: Any) -> str:
    """What a process writes on stderr if that is a terminal of this size.

    Args:
        rows: lines of the terminal.
        columns: characters per line.
        process: what `subprocess.Popen` takes.
    """
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    job = subprocess.Popen(**process, stdout=subprocess.DEVNULL, stderr=slave)
    os.close(slave)
    chunks = []
    with contextlib.suppress(OSError):  # Linux reports the other end's close as an error
        while select.select([master], [], [], 60)[0] and (chunk := os.read(master, 65536)):
            chunks.append(chunk)
    os.close(master)
    assert job.wait(timeout=60) == 0
    return b"".join(chunks).decode()


def verbs(
    group: click.Group = lae, before: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command there is, by the words that call it."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from verbs(command, (*before, name))
        else:
            yield (*before, name), command


VERBS = dict(verbs())
