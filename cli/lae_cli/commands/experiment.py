"""``lae experiment``: one study of the seed documents."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from lae_cli.shared.labs import lab_options, show
from lae_cli.shared.results import json_line
from lae_fast.experiments import STUDIES

if TYPE_CHECKING:
    from lae_fast.experiments.lab import Lab

_NAMES = "\b\n" + "\n".join(f"{name:<16}{text}" for name, text in STUDIES.items())


@click.command(epilog=_NAMES)
@click.argument("name", metavar="NAME")
@lab_options
def experiment(make_lab: Callable[[], Lab], name: str, force: bool, as_json: bool) -> None:
    """Run one study of the seed documents, or show the result that is there.

    Models are trained where no finished run folder holds them. The result joins those of the other
    studies in results.md.
    """
    from lae_fast.experiments import find_study
    from lae_fast.experiments.results import reproduce

    find_study(name)
    (found,) = reproduce(make_lab, [name], force=force)
    if as_json:
        click.echo(json_line(found.to_dict()))
    else:
        show(found)
