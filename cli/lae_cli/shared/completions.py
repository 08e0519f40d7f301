"""What a shell may complete: names of runs, studies, data sets and themes."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import click

from lae_fast import runs
from lae_fast.config import DATASETS
from lae_fast.config.settings import default_of
from lae_fast.errors import InputError, printable


def complete_runs(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Runs of the root that the command line or the environment names, and ``latest``."""
    try:
        root = ctx.params.get("run_root") or default_of("run_root")
        names = sorted(path.name for path in runs.folders(Path(root)))
    except (InputError, OSError):
        return []
    plain = [name for name in names if name == printable(name)]
    return _beginning(incomplete, [*plain, "latest"] if plain else [])


def complete_studies(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Studies of `lae experiment`."""
    from lae_fast.experiments import STUDIES

    return _beginning(incomplete, STUDIES)


def complete_data_sets(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Data sets that have a name."""
    return _beginning(incomplete, [*DATASETS, "rotated"])


def complete_themes(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Themes of the dashboard."""
    from textual.theme import BUILTIN_THEMES

    return _beginning(incomplete, sorted(BUILTIN_THEMES))


def _beginning(text: str, names: Iterable[str]) -> list[str]:
    return [name for name in names if name.startswith(text)]
