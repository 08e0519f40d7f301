"""Opens the application in the way that suits the terminal."""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path

import click

from lae_cli.dashboard.app import Dashboard
from lae_cli.dashboard.base import Start
from lae_cli.terminal.console import has_unicode, make_console

FEW_COLOURS = "ansi-dark"
"""The theme for terminals that have sixteen colours."""


def need_terminal() -> None:
    """Raise `click.UsageError` where there is nothing to draw on."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()) and "TEXTUAL_DRIVER" not in os.environ:
        raise click.UsageError(
            "the dashboard needs a terminal; `lae runs ls` and `lae runs show` write to a pipe"
        )


def run(
    root: Path,
    paths: tuple[Path, ...],
    *,
    readonly: bool = False,
    ascii_only: bool = False,
    theme: str | None = None,
) -> None:
    """Open the dashboard and return when it is closed."""
    need_terminal()
    few = make_console().color_system == "standard"
    start = Start(
        root=root,
        paths=paths,
        readonly=readonly,
        ascii_only=ascii_only or not has_unicode(sys.stdout),
        theme=theme or (FEW_COLOURS if few else None),
    )
    if "TEXTUAL_DRIVER" in os.environ:
        threading.Thread(target=_leave_with, args=(os.getppid(),), daemon=True).start()
    Dashboard(start).run()


def _leave_with(server: int) -> None:
    """End this process when the web server that started it is gone: nobody would see it again."""
    while os.getppid() == server:
        time.sleep(1)
    os._exit(0)
