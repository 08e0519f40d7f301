"""``lae bench``: run the benchmarks of the source checkout and print ratios."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from lae_cli.health.benchmarks import SUITES, compare, run_suites
from lae_cli.shared.options import LARGEST, FiniteRange
from lae_cli.terminal.console import make_console, plain


@click.command()
@click.option(
    "--suite",
    "suites",
    type=click.Choice([*SUITES, "all"]),
    multiple=True,
    default=("micro",),
    show_default=True,
    help="What to measure; may be repeated.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of tables.")
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="Also write the JSON here."
)
@click.option(
    "--compare",
    "earlier",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="An earlier report: show its times over these.",
)
@click.option(
    "--threads",
    type=click.IntRange(1, LARGEST),
    help="Threads to compute with; 1 measures CPU time, which a busy machine disturbs least.",
)
@click.option(
    "--device",
    type=click.Choice(["cpu", "cuda"]),
    help="Measure there alone.  [default: wherever this machine can]",
)
@click.option(
    "--max-time",
    type=FiniteRange(min=0, min_open=True),
    metavar="SECONDS",
    help="Begin no benchmark after this many seconds, and report what was measured.",
)
@click.option("--only", metavar="EXPRESSION", help="Benchmarks whose names fit, as pytest -k does.")
def bench(
    suites: tuple[str, ...],
    as_json: bool,
    out: Path | None,
    earlier: Path | None,
    threads: int | None,
    device: str | None,
    max_time: float | None,
    only: str | None,
) -> None:
    """Compare the fused kernels and the trainer with plain PyTorch, in one run.

    Times are the best of many rounds; a ratio is the baseline's time over the variant's, so
    above 1 is faster. For memory and scaling it is the variant's over the baseline's.

    \b
    Example:
      lae bench --suite iteration --device cuda --max-time 60
    """
    before = None if earlier is None else _read_report(earlier)
    chosen = list(SUITES) if "all" in suites else list(dict.fromkeys(suites))
    _refuse_missing_cuda(device)
    make_console(stderr=True).print(f"measuring {', '.join(chosen)}; this takes minutes")
    report = run_suites(chosen, threads, device=device, max_time=max_time, only=only)
    if before is not None:
        compare(report, before)
    if out is not None:
        out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    if as_json:
        click.echo(json.dumps(report))
    else:
        _show(report)
    _tell_what_is_missing(report)


def _refuse_missing_cuda(device: str | None) -> None:
    if device == "cuda":
        from lae_fast.ops.devices import pick_device

        pick_device(device)


def _tell_what_is_missing(report: dict[str, Any]) -> None:
    """Say on stderr what was not measured; a benchmark that failed ends the command."""
    if report["left_out"]:
        click.echo(f"no time was left for {report['left_out']} benchmarks", err=True)
    if report["failed"]:
        name, why = next(iter(report["failed"].items()))
        raise click.ClickException(
            f"{len(report['failed'])} of the benchmarks failed: {name}: {why}"
        )


def _read_report(path: Path) -> dict[str, Any]:
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        [(row["variant"], row["value"]) for group in report["groups"] for row in group["rows"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise click.ClickException(f"{path} is not a report of lae bench: {error}") from error
    return dict(report)


def _show(report: dict[str, Any]) -> None:
    from rich.table import Table

    console = make_console()
    for group in report["groups"]:
        table = Table(title=plain(group["group"]), title_justify="left")
        table.add_column("variant")
        measured = "peak memory" if group["unit"] == "bytes" else "best time"
        table.add_column(measured, justify="right")
        extra = [
            (key, title)
            for key, title in (("over_floor", "over its floor"), ("before_over_now", "before"))
            if any(row.get(key) is not None for row in group["rows"])
        ]
        for title in ("ratio", *(title for _, title in extra)):
            table.add_column(title, justify="right")
        for row in group["rows"]:
            ratios = [row["ratio"], *(row.get(key) for key, _ in extra)]
            cells = ("" if ratio is None else f"{ratio:.2f}x" for ratio in ratios)
            table.add_row(row["variant"], _amount(row["value"], group["unit"]), *cells)
        console.print(table)
    console.print(plain("  ".join(f"{k} {v}" for k, v in report["machine"].items())))


def _amount(value: float, unit: str) -> str:
    if unit == "bytes":
        return f"{value / 2**20:.0f} MiB"
    for factor, name in ((1, "s"), (1e3, "ms"), (1e6, "µs")):
        if value * factor >= 1:
            return f"{value * factor:.3g} {name}"
    return f"{value * 1e9:.3g} ns"
