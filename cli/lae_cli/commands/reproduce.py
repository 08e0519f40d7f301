"""``lae reproduce``: run all studies and write the page of results."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from lae_cli.shared.labs import lab_options
from lae_cli.shared.results import Result, present
from lae_fast.experiments import STUDIES

if TYPE_CHECKING:
    from lae_fast.experiments.lab import Lab


@click.command()
@click.option(
    "--only",
    type=click.Choice(list(STUDIES)),
    multiple=True,
    metavar="STUDY",
    help="Run this study; may be repeated.  [default: all]",
)
@lab_options
def reproduce(
    make_lab: Callable[[], Lab], only: tuple[str, ...], force: bool, as_json: bool
) -> None:
    """Run all studies and write the page of results.

    Studies that have a result and models that are trained already are not run again, so the command
    may be interrupted and repeated. --quick takes minutes on digits; --full takes many hours on
    MNIST.

    \b
    Example:
      lae reproduce --full --only probe --only attack --no-train
    """
    from lae_fast.experiments.page import PAGE, reproduce

    found = reproduce(make_lab, only or list(STUDIES), force=force)
    page = make_lab().out / PAGE
    lines = [
        f"{each.name:<16}{'done' if each.complete else 'rows missing':<14}{each.seconds:.0f} s"
        for each in found
    ]
    values = {"page": str(page), "studies": [each.to_dict() for each in found]}
    present(Result(values, [*lines, f"{'page':<16}{page}"]), as_json=as_json)
