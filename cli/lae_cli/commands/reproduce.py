"""``lae reproduce``: every study of the seed documents, and the page of results."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from lae_cli.shared.labs import lab_options
from lae_cli.shared.results import json_line
from lae_fast.errors import printable
from lae_fast.experiments import STUDIES

if TYPE_CHECKING:
    from lae_fast.experiments.lab import Lab


@click.command()
@click.option(
    "--only", type=click.Choice(list(STUDIES)), multiple=True, help="Study; may be repeated."
)
@lab_options
def reproduce(
    make_lab: Callable[[], Lab], only: tuple[str, ...], force: bool, as_json: bool
) -> None:
    """Run every study that has no result yet, and write results.md with its pictures.

    It may be interrupted: finished run folders and finished studies are not run again. --quick
    takes minutes on digits; --full takes many hours on MNIST, so --only and --no-train matter.
    """
    from lae_fast.experiments import results

    found = results.reproduce(make_lab, only or list(STUDIES), force=force)
    page = make_lab().out / results.PAGE
    if as_json:
        values = [outcome.to_dict() for outcome in found]
        click.echo(json_line({"page": str(page), "studies": values}))
        return
    for outcome in found:
        state = "done" if outcome.complete else "rows missing"
        click.echo(f"{outcome.name:<16}{state:<14}{outcome.seconds:.0f} s")
    click.echo(f"page            {printable(str(page))}")
