"""What `lae eval` and `lae diagnose` share: their options, and the report they show."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lae_cli.shared.opened import WHICH_RUN
from lae_cli.shared.options import LARGEST
from lae_cli.terminal.console import make_console, plain
from lae_fast import runs
from lae_fast.config import TrainConfig

if TYPE_CHECKING:
    from lae_fast.analysis.evaluate import Report
    from lae_fast.config import TrainConfig

_OPTIONS = (
    *WHICH_RUN,
    click.option(
        "--images", type=click.IntRange(2, LARGEST), default=1000, show_default=True,
        help="Held-out images to evaluate.",
    ),
    click.option(
        "--samples", type=click.IntRange(1, LARGEST), default=1000, show_default=True,
        help="Importance samples an image.",
    ),
    click.option(
        "--ais", "ais_images", type=click.IntRange(0, LARGEST), default=0, show_default=True,
        metavar="N", help="Also run annealed importance sampling on N images.",
    ),
)  # fmt: skip


def evaluation_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the argument RUN and the options of an evaluation."""
    for decorate in reversed(_OPTIONS):
        command = decorate(command)
    return command


def run_report(
    run: str, run_root: str | None, device: str, **options: Any
) -> tuple[Path, Report, TrainConfig]:
    """Evaluate the run that the options name; say on stderr that this takes a moment."""
    root = run_root or TrainConfig().run_root
    path = runs.find(root, run)
    from lae_fast.ops.devices import pick_device

    where = pick_device(device)
    make_console(stderr=True).print(plain(f"evaluating {path.name}; this takes a minute"))
    from lae_fast.analysis.evaluate import evaluate_run
    from lae_fast.analysis.saved import open_run

    report = evaluate_run(path, device=where, **options)
    return path, report, open_run(path, options["checkpoint"]).config
