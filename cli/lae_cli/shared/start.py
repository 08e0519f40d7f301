"""The page that `lae` and `lae runs` show when they are given nothing to do."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import click

from lae_cli.terminal import vocabulary
from lae_fast import runs
from lae_fast.config.settings import default_of
from lae_fast.errors import printable

NEWEST = 5
"""Runs that the page shows."""


def show_start(head: str, commands: Sequence[tuple[str, str]]) -> None:
    """Print a heading, what to type first, and the newest runs.

    Args:
        head: the first line.
        commands: command lines, and what each does.
    """
    width = max(len(words) for words, _ in commands)
    click.echo(f"{head}\n")
    for words, meaning in commands:
        click.echo(f"  {words:<{width}}  {meaning}")
    root = str(default_of("run_root"))
    found = _newest(Path(root))
    if not found:
        click.echo(f"\nThere are no runs in {printable(root)} yet.")
        return
    click.echo(f"\nNewest runs in {printable(root)}:\n")
    longest = max(len(name) for name, _, _ in found)
    for name, status, age in found:
        click.echo(f"  {name:<{longest}}  {status:<13}  {age:>6} ago")


def _newest(root: Path) -> list[tuple[str, str, str]]:
    """Name, status and age of the newest runs; of a thousand folders only few are opened."""
    found: list[tuple[str, str, str]] = []
    for path in sorted(runs.folders(root), key=_modified, reverse=True):
        summary = runs.summarise(path, quick=True)
        if summary.status == "not a run":
            continue
        age = vocabulary.age(None if summary.started is None else time.time() - summary.started)
        found.append((printable(summary.name), summary.status, age))
        if len(found) == NEWEST:
            break
    return found


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
