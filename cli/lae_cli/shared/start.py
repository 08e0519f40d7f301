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
    """Name, status and age of the runs that started last, as `lae runs ls` sorts them."""
    summaries = [runs.summarise(path, quick=True) for path in runs.folders(root)]
    found = [summary for summary in summaries if summary.status != "not a run"]
    found.sort(key=lambda s: (s.started or 0.0, s.name), reverse=True)
    return [(printable(s.name), s.status, _age(s)) for s in found[:NEWEST]]


def _age(summary: runs.Summary) -> str:
    return vocabulary.age(None if summary.started is None else time.time() - summary.started)
