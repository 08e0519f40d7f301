"""What `lae experiment` and `lae reproduce` share: their options, and outcomes on the terminal."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lae_cli.shared.options import LARGEST, device_option
from lae_cli.terminal.console import make_console, plain
from lae_fast.config import settings

if TYPE_CHECKING:
    from lae_fast.experiments.lab import Lab
    from lae_fast.experiments.outcome import Outcome

_OPTIONS = (
    click.option(
        "--quick/--full", default=True,
        help="Small models on the built-in digits, or the published settings on MNIST.  "
        "[default: quick]",
    ),
    click.option(
        "--out", type=click.Path(file_okay=False, path_type=Path), default=Path("results"),
        show_default=True, metavar="DIR", help="Folder for results.md and pictures.",
    ),
    click.option("--run-root", metavar="DIR", help="Folder of run folders.  [default: runs]"),
    click.option("--data-dir", metavar="DIR", help="Where data sets lie.  [default: data]"),
    click.option(
        "--train/--no-train", default=True,
        help="Train models that no finished run folder holds, or leave their rows out.  "
        "[default: train]",
    ),
    click.option(
        "--seeds", "seed_count", type=click.IntRange(1, LARGEST), default=1, show_default=True,
        help="Seeds of every model; figures become means with standard deviations.",
    ),
    device_option,
    click.option("--force", is_flag=True, help="Run again what has a result already."),
    click.option("--json", "as_json", is_flag=True, help="One JSON object."),
)  # fmt: skip


def lab_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options; the command gets ``make_lab``, ``force`` and ``as_json``."""

    @functools.wraps(command)
    def with_lab(
        quick: bool,
        out: Path,
        run_root: str | None,
        data_dir: str | None,
        train: bool,
        seed_count: int,
        device: str,
        **rest: Any,
    ) -> None:
        def make_lab() -> Lab:
            from lae_fast.experiments.lab import Lab
            from lae_fast.ops.devices import pick_device

            default = settings.resolve({})
            root, data = Path(run_root or default.run_root), data_dir or default.data_dir
            return Lab(
                quick,
                root,
                data,
                out,
                train,
                seed_count,
                pick_device(device),
                say=lambda line: click.echo(line, err=True),
            )

        command(make_lab, **rest)

    decorated: Callable[..., None] = with_lab
    for decorate in reversed(_OPTIONS):
        decorated = decorate(decorated)
    return decorated


def show(outcome: Outcome) -> None:
    """Print an outcome's tables."""
    from rich.table import Table

    from lae_fast.experiments.outcome import texts

    console = make_console()
    console.print(plain(f"{outcome.title}. {outcome.described}"))
    for table in outcome.tables:
        head, *rows = texts(table)
        drawn = Table(title=plain(table.title), title_justify="left")
        for index, heading in enumerate(head):
            drawn.add_column(heading, justify="right" if index else "left")
        for row in rows:
            drawn.add_row(*(plain(cell) for cell in row))
        console.print(drawn)
        if table.note:
            console.print(plain(table.note))
