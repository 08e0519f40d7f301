"""``lae diagnose``: judge whether a run's chain is to be trusted."""

from __future__ import annotations

import dataclasses
from typing import Any

import click

from lae_cli import exits
from lae_cli.shared.evaluate import evaluation_options, run_report
from lae_cli.shared.results import json_line


@click.command()
@evaluation_options
@click.option("--json", "as_json", is_flag=True, help="One JSON array of findings.")
def diagnose(as_json: bool, **options: Any) -> None:
    """Judge RUN: did its chain move throughout, do its posteriors mix, are its latents in use?

    Exits with 1 when the chain is not to be trusted. Lines marked `note` are about the model
    rather than the chain and do not count.
    """
    path, report, config = run_report(**options)
    from lae_fast.analysis.verdict import judge

    findings = judge(path, report, is_chain=config.has_chain)
    if as_json:
        click.echo(json_line([dataclasses.asdict(finding) for finding in findings]))
    else:
        for finding in findings:
            word = "ok" if finding.ok else "fail" if finding.essential else "note"
            click.echo(f"{word:<6}{finding.name:<21}{finding.text}")
    if any(finding.essential and not finding.ok for finding in findings):
        click.get_current_context().exit(exits.FAILED)
