"""``lae experiment``: run one study and show its tables."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from lae_cli.shared.completions import complete_studies
from lae_cli.shared.labs import lab_options, tables_of
from lae_cli.shared.results import Result, present
from lae_fast.experiments import STUDIES

if TYPE_CHECKING:
    from lae_fast.experiments.lab import Lab


class ListsStudies(click.Command):
    """A command whose help ends with the studies."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write each study's name and what it is about."""
        with formatter.section("Studies"):
            formatter.write_dl(list(STUDIES.items()))


@click.command(cls=ListsStudies)
@click.argument("name", metavar="STUDY", shell_complete=complete_studies)
@lab_options
def experiment(make_lab: Callable[[], Lab], name: str, force: bool, as_json: bool) -> None:
    """Run one study and show its tables.

    Models are trained where no finished run folder holds them. A study that has a result already is
    only shown. All results are collected in results.md.

    \b
    Example:
      lae experiment probe --quick --seeds 3
    """
    from lae_fast.experiments import find_study

    find_study(name)
    from lae_fast.experiments.page import reproduce

    (found,) = reproduce(make_lab, [name], force=force)
    present(Result(found.to_dict(), tables_of(found)), as_json=as_json)
