"""``lae doctor``: what this machine can do, and what to do about what it cannot."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import click

from lae_cli import exits
from lae_cli.health.checks import Check, run_checks
from lae_cli.shared.options import json_option
from lae_cli.shared.results import Result, present

if TYPE_CHECKING:
    from rich.text import Text

_SIGNS = {"ok": ("ok  ", "green"), "warn": ("warn", "yellow"), "fail": ("FAIL", "red")}


@click.command()
@json_option
def doctor(as_json: bool) -> None:
    """Check Python, torch, the kernels and the terminal.

    Each line begins with ok, warn or FAIL; the line below a warning or failure says what to do. The
    exit code is 1 if something that training needs is missing.

    \b
    Example:
      lae doctor --json
    """
    checks = run_checks()
    healthy = all(check.level != "fail" for check in checks)
    values = {"ok": healthy, "checks": [dataclasses.asdict(check) for check in checks]}
    lines = [] if as_json else [line for check in checks for line in _lines(check)]
    present(Result(values, lines, code=exits.OK if healthy else exits.FAILED), as_json=as_json)


def _lines(check: Check) -> list[Text]:
    from lae_cli.terminal.console import plain

    sign, colour = _SIGNS[check.level]
    line = plain(sign, f"bold {colour}").append_text(plain(f"  {check.name:<12}{check.detail}"))
    return [line, plain(f"{'':18}{check.remedy}", "italic")] if check.remedy else [line]
