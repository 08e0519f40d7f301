"""``lae doctor``: what this machine can do, whether a run is whole, and what to do if not."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import click

from lae_cli import exits
from lae_cli.health.checks import Check, check_run, run_checks
from lae_cli.shared.completions import complete_runs
from lae_cli.shared.options import json_option, setting_option
from lae_cli.shared.results import Result, present
from lae_fast import runs

if TYPE_CHECKING:
    from rich.text import Text

WIDEST_NAME = 34
"""Characters of a name beside which there is room for what was found."""
_SIGNS = {"ok": ("ok  ", "green"), "warn": ("warn", "yellow"), "fail": ("FAIL", "red")}


@click.command()
@click.argument("run", required=False, shell_complete=complete_runs)
@setting_option("run_root")
@json_option
def doctor(run: str | None, run_root: str, as_json: bool) -> None:
    """Check what is installed and works, or the files of a run.

    Each line begins with ok, warn or FAIL; the line below a warning or failure says what to do. The
    exit code is 1 if something that training needs is missing, or if a file of the run is damaged.

    \b
    Example:
      lae doctor --json
      lae doctor latest
    """
    checks = run_checks() if run is None else check_run(runs.find(run_root, run))
    healthy = all(check.level != "fail" for check in checks)
    values = {"ok": healthy, "checks": [dataclasses.asdict(check) for check in checks]}
    # Long names, such as those of classifiers, stand on a line of their own.
    width = max(len(check.name) for check in checks if len(check.name) <= WIDEST_NAME)
    lines = [] if as_json else [line for check in checks for line in _lines(check, width)]
    present(Result(values, lines, code=exits.OK if healthy else exits.FAILED), as_json=as_json)


def _lines(check: Check, width: int) -> list[Text]:
    from lae_cli.terminal.console import plain

    sign, colour = _SIGNS[check.level]
    found = [plain(sign, f"bold {colour}").append_text(plain(f"  {check.name:<{width}}"))]
    if len(check.name) <= width:
        found[0].append_text(plain(f"  {check.detail}"))
    else:
        found.append(plain(f"      {check.detail}"))
    indent = " " * (width + 8 if len(check.name) <= width else 6)
    return [*found, plain(f"{indent}{check.remedy}", "italic")] if check.remedy else found
