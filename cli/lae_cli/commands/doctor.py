"""``lae doctor``: what this machine can do, and what to do about what it cannot."""

from __future__ import annotations

import dataclasses
import sys

import click

from lae_cli import exits
from lae_cli.health.checks import Check, run_checks
from lae_cli.shared.results import json_line

_SIGNS = {"ok": ("ok  ", "green"), "warn": ("warn", "yellow"), "fail": ("FAIL", "red")}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def doctor(as_json: bool) -> None:
    """Check Python, torch, the kernels and the terminal.

    Each line is ok, warn or FAIL, with a remedy. The exit code is 1 when something that training
    needs is missing.
    """
    checks = run_checks()
    healthy = all(check.level != "fail" for check in checks)
    if as_json:
        entries = [dataclasses.asdict(check) for check in checks]
        click.echo(json_line({"ok": healthy, "checks": entries}))
    else:
        _print(checks)
    click.get_current_context().exit(exits.OK if healthy else exits.FAILED)


def _print(checks: list[Check]) -> None:
    from lae_cli.terminal.console import make_console, plain

    console = make_console()
    for check in checks:
        sign, colour = _SIGNS[check.level]
        line = plain(sign, f"bold {colour}")
        line.append_text(plain(f"  {check.name:<12}", ""))
        line.append_text(plain(check.detail))
        console.print(line, soft_wrap=True)
        if check.remedy:
            console.print(plain(f"      {'':<12}{check.remedy}", "italic"), soft_wrap=True)
    sys.stdout.flush()
