"""``lae diagnose``: judge whether a run's chain is to be trusted."""

from __future__ import annotations

import dataclasses
from typing import Any

import click

from lae_cli import exits
from lae_cli.shared.evaluate import evaluate, evaluation_options
from lae_cli.shared.opened import Opened, on_run
from lae_cli.shared.results import Result


@click.command()
@evaluation_options
@on_run()
def diagnose(opened: Opened, **options: Any) -> Result:
    """Judge whether the chain of a run is to be trusted.

    It is if the chain kept moving through training, its posteriors mix and its latents are in use.
    Otherwise the exit code is 1. Lines marked `note` are about the model rather than the chain and
    do not count.

    \b
    Example:
      lae diagnose latest --images 200
    """
    report = evaluate(opened, **options)
    from lae_fast.analysis.verdict import judge

    findings = judge(opened.path, report)
    lines = []
    for finding in findings:
        word = "ok" if finding.ok else "fail" if finding.essential else "note"
        lines.append(f"{word:<6}{finding.name:<21}{finding.text}")
    failed = any(finding.essential and not finding.ok for finding in findings)
    values = [dataclasses.asdict(finding) for finding in findings]
    return Result(values, lines, code=exits.FAILED if failed else exits.OK)
