"""``lae bench``: run the benchmarks of the source checkout and print ratios."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lae_cli.health.benchmarks import SUITES, compare, run_suites
from lae_cli.progress.bar import shown
from lae_cli.shared.options import json_option, real, whole
from lae_cli.shared.results import Result, present
from lae_fast.errors import reason

if TYPE_CHECKING:
    from rich.console import RenderableType

    from lae_cli.terminal.tables import FittingTable


@click.command()
@click.option(
    "--suite",
    "suites",
    type=click.Choice([*SUITES, "all"]),
    multiple=True,
    default=("micro",),
    show_default=True,
    help="Measure this suite; may be repeated.",
)
@json_option
@click.option(
    "--out",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Also write the JSON to this file.  [default: none]",
)
@click.option(
    "--compare",
    "earlier",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Show the times of this earlier report over the new ones.  [default: none]",
)
@whole(
    "--threads",
    metavar="N",
    help="Compute with N threads. 1 measures CPU time, which a busy machine disturbs least.  "
    "[default: PyTorch's choice]",
)
@click.option(
    "--device",
    type=click.Choice(["cpu", "cuda"]),
    help="Measure on this device only.  [default: every device that is there]",
)
@real(
    "--max-time",
    metavar="SECONDS",
    help="Begin no benchmark after this many seconds, and report what was measured.  "
    "[default: no limit]",
)
@click.option(
    "--only",
    metavar="EXPRESSION",
    help="Run the benchmarks whose names match, as pytest -k does.  [default: all]",
)
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
    """Compare the fused kernels and the trainer with plain PyTorch.

    A time is the best of many rounds. A ratio is the baseline's time over the variant's, so above 1
    is faster. For memory and scaling it is the variant's over the baseline's.

    \b
    Example:
      lae bench --suite iteration --device cuda --max-time 60
    """
    before = None if earlier is None else _read_report(earlier)
    chosen = list(SUITES) if "all" in suites else list(dict.fromkeys(suites))
    if device == "cuda":
        from lae_fast.ops.devices import pick_device

        pick_device(device)
    with shown(f"bench {', '.join(chosen)}"):
        report = run_suites(chosen, threads, device=device, max_time=max_time, only=only)
    if before is not None:
        compare(report, before)
    if out is not None:
        out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    present(Result(report, [] if as_json else _tables(report)), as_json=as_json)
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
    except (OSError, ValueError) as error:
        raise click.ClickException(
            f"{path} is not a report of lae bench: {reason(error)}; write one with --out"
        ) from error
    except (KeyError, TypeError) as error:
        raise click.ClickException(
            f"{path} is not a report of lae bench: it has no groups of variants and values; write "
            "one with --out"
        ) from error
    return dict(report)


def _tables(report: dict[str, Any]) -> list[RenderableType]:
    tables: list[RenderableType] = [_table(group) for group in report["groups"]]
    return [*tables, "  ".join(f"{name} {value}" for name, value in report["machine"].items())]


def _table(group: dict[str, Any]) -> FittingTable:
    from lae_cli.terminal.tables import FittingTable

    table = FittingTable(group["group"])
    table.add_column("variant")
    measured = "peak memory" if group["unit"] == "bytes" else "best time"
    columns = {"ratio": "ratio"} | {
        key: title
        for key, title in (("over_floor", "over its floor"), ("before_over_now", "before"))
        if any(row.get(key) is not None for row in group["rows"])
    }
    for title in (measured, *columns.values()):
        table.add_column(title)
    for row in group["rows"]:
        ratios = (row.get(key) for key in columns)
        cells = ("" if ratio is None else f"{ratio:.2f}x" for ratio in ratios)
        table.add_row(row["variant"], _amount(row["value"], group["unit"]), *cells)
    return table


def _amount(value: float, unit: str) -> str:
    if unit == "bytes":
        return f"{value / 2**20:.0f} MiB"
    for factor, name in ((1, "s"), (1e3, "ms"), (1e6, "µs")):
        if value * factor >= 1:
            return f"{value * factor:.3g} {name}"
    return f"{value * 1e9:.3g} ns"
