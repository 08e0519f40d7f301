"""What `lae experiment` and `lae reproduce` share: their options, and a study's tables."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lae_cli.shared.options import add_options, json_option, setting_option, whole

if TYPE_CHECKING:
    from rich.console import RenderableType

    from lae_fast.experiments.lab import Lab
    from lae_fast.experiments.outcome import Outcome

_OPTIONS = (
    click.option(
        "--quick/--full",
        default=True,
        help="Train small models on the built-in digits (minutes), or those of the original study "
        "on MNIST (hours).  [default: quick]",
    ),
    click.option(
        "--out",
        type=click.Path(file_okay=False, path_type=Path),
        default=Path("results"),
        show_default=True,
        metavar="DIR",
        help="Folder for results.md and pictures.",
    ),
    setting_option("run_root", default="studies"),
    setting_option("data_dir"),
    click.option(
        "--train/--no-train",
        default=True,
        help="Train models that no finished run folder holds, or leave their rows out.  "
        "[default: train]",
    ),
    whole(
        "--seeds",
        "seed_count",
        default=1,
        help="Seeds per model; figures become means with standard deviations.",
    ),
    setting_option("device"),
    click.option("--force", is_flag=True, help="Run again even if there is a result."),
    json_option,
)


def lab_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options; the command gets ``make_lab``, ``force`` and ``as_json``."""

    @functools.wraps(command)
    def with_lab(
        *,
        quick: bool,
        out: Path,
        run_root: str,
        data_dir: str,
        train: bool,
        seed_count: int,
        device: str,
        **rest: Any,
    ) -> None:
        def make_lab() -> Lab:
            from lae_fast.experiments.lab import Lab
            from lae_fast.ops.devices import pick_device

            return Lab(
                quick,
                Path(run_root),
                data_dir,
                out,
                train,
                seed_count,
                pick_device(device),
                say=lambda line: click.echo(line, err=True),
            )

        command(make_lab, **rest)

    return add_options(with_lab, *_OPTIONS)


def tables_of(outcome: Outcome) -> list[RenderableType]:
    """What an outcome says, and its tables with their notes."""
    from lae_cli.terminal.console import plain
    from lae_cli.terminal.tables import FittingTable
    from lae_fast.experiments.findings import findings
    from lae_fast.experiments.outcome import texts

    found: list[RenderableType] = [plain(f"{outcome.title}. {outcome.described}")]
    for table, said in zip(outcome.tables, findings(outcome), strict=True):
        head, *rows = texts(table)
        drawn = FittingTable(table.title)
        for heading in head:
            drawn.add_column(heading)
        for row in rows:
            drawn.add_row(*row)
        found += [drawn, *(plain(part) for part in (*table.note.split("\n\n"), said) if part)]
    return found
