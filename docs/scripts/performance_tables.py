"""Writes the tables of docs/performance.md: python docs/scripts/performance_tables.py [REPORT].

REPORT is what ``lae bench --suite all --out REPORT`` wrote; its tables stand between two markers.
Between two others stand those of every GPU with a report of ``make gpu`` in benchmarks/results;
they are written anew at each call.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

BEGIN, END = "<!-- tables -->\n", "<!-- end of tables -->\n"
GPU_BEGIN, GPU_END = "<!-- GPU tables -->\n", "<!-- end of GPU tables -->\n"
PAGE = Path(__file__).parents[1] / "performance.md"
RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"
UNMEASURED = "No GPU has been measured yet: there is no figure of one on this page.\n"
HEADINGS = {
    "iteration": "Iterations",
    "epoch": "An epoch",
    "scaling": "Scaling",
    "peak": "Memory",
}
"""First word of a group's name -> heading; operators are all the others."""


def amount(value: float, unit: str) -> str:
    """A time or a size, three digits."""
    if unit == "bytes":
        return f"{value / 2**20:.0f} MiB"
    scale, name = next((s for s in ((1, "s"), (1e3, "ms")) if value * s[0] >= 1), (1e6, "µs"))
    return f"{value * scale:.3g} {name}"


def times(ratio: float | None) -> str:
    """A ratio; empty where there is none."""
    return "" if ratio is None else f"{ratio:.2f}x"


def table(group: dict[str, Any]) -> list[str]:
    """One group as a table, its name above."""
    rows, floor = group["rows"], any(row["over_floor"] for row in group["rows"])
    cost = group["unit"] == "bytes" or group["group"].startswith("scaling")
    base = rows[0]["variant"]
    heads = ["variant", "peak" if group["unit"] == "bytes" else "time"]
    heads += [f"over {base}" if cost else f"faster than {base}"]
    heads += ["over its floor"] if floor else []
    lines = [f"**{group['group']}**", "", f"| {' | '.join(heads)} |", "| --- " * len(heads) + "|"]
    for row in rows:
        cells = [row["variant"], amount(row["value"], group["unit"]), times(row["ratio"])]
        cells += [times(row["over_floor"])] if floor else []
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, ""]


def tables(groups: list[dict[str, Any]], level: str = "##") -> list[str]:
    """Every group's table, under the headings of the page; all operators share one table."""
    sections: dict[str, list[str]] = {name: [] for name in HEADINGS.values()}
    by_itself = [group for group in groups if heading(group) is not None]
    for group in by_itself:
        sections[HEADINGS[heading(group) or ""]] += table(group)
    found = {"Operators": operators([group for group in groups if group not in by_itself])}
    return [
        line
        for name, lines in (found | sections).items()
        if lines
        for line in (f"{level} {name}", "", *lines)
    ]


def heading(group: dict[str, Any]) -> str | None:
    """The word in `HEADINGS` that a group belongs under; None for an operator."""
    word = group["group"].split(maxsplit=1)[0].rstrip(",")
    return word if word in HEADINGS else None


def operators(groups: list[dict[str, Any]]) -> list[str]:
    """One row per operator and size: the time of every variant, and the two ratios of the last."""
    names = list(dict.fromkeys(row["variant"] for group in groups for row in group["rows"]))
    rows = []
    for group in groups:
        found = {row["variant"]: row for row in group["rows"]}
        ours = next((row for row in group["rows"] if row["over_floor"]), group["rows"][-1])
        cells = [amount(found[name]["value"], "s") if name in found else "" for name in names]
        rows.append([group["group"], *cells, times(ours["ratio"]), times(ours["over_floor"])])
    return grid(["operator, size", *names, "times faster", "over its floor"], rows)


def grid(heads: list[str], rows: list[list[str]]) -> list[str]:
    """A table of texts; nothing without rows."""
    if not rows:
        return []
    lines = [heads, ["---"] * len(heads), *rows]
    return [*(f"| {' | '.join(cells)} |" for cells in lines), ""]


def gpu_report(report: dict[str, Any]) -> list[str]:
    """What ``make gpu`` found on one card."""
    machine, steps = report["machine"], report["steps"]
    card = "Rehearsal on the CPU: no GPU" if report["rehearsal"] else machine["gpu"]
    known = [
        f"driver {machine['driver']}" if "driver" in machine else "",
        f"PyTorch {machine.get('torch', '?')}",
        f"commit {report['commit']}",
        report["date"].split("T")[0],
        f"`make gpu` in {report['seconds']:.0f} s",
    ]
    lines = [f"### {card}", "", ", ".join(filter(None, known)) + ".", ""]
    lines += grid(
        ["step", "result", "seconds", "found"], [step_row(*each) for each in steps.items()]
    )
    lines += bandwidth(report["groups"]) + training(steps) + kernels(steps)
    return lines + tables(report["groups"], "####")


def step_row(name: str, step: dict[str, Any]) -> list[str]:
    """A step in one row."""
    names = ("passed", "failed", "skipped", "left_out", "errors")
    found = [
        f"{step[k]} {k.replace('_', ' ')}"
        for k in names
        if step.get(k) and isinstance(step[k], int)
    ]
    found += [f"failed: {test}" for test in step.get("failures", {})]
    found += [f"not ended: {test}" for test in step.get("not_ended", [])]
    if isinstance(step.get("failed"), dict):
        found += [f"failed: {test}" for test in step["failed"]]
    found += [step["message"]] if step.get("message") else []
    seconds = f"{step['seconds']:.0f}" if "seconds" in step else ""
    return [name, step["status"], seconds, "; ".join(found).replace("|", "\\|")]


def bandwidth(groups: list[dict[str, Any]]) -> list[str]:
    """The share of a copy's bandwidth, of the operators that were measured on many elements."""
    rows = [
        [
            group["group"],
            f"{row['bytes'] / row['value'] / 1e9:.0f} GB/s",
            f"{100 / row['over_floor']:.0f} %",
        ]
        for group in groups
        for row in group["rows"]
        if row.get("bytes") and row["over_floor"]
    ]
    return grid(["operator", "reads and writes", "of a copy's bandwidth"], rows)


def training(steps: dict[str, Any]) -> list[str]:
    """The training of a minute."""
    found = steps.get("training", {})
    units = {
        "engine": "path",
        "accept_rate": "acceptance rate",
        "best_val_loss": "best validation loss, nats per image",
        "train_loss": "training loss, nats per image",
        "images_per_second": "images per second",
        "epochs": "epochs",
    }
    cells = {title: found[key] for key, title in units.items() if found.get(key) is not None}
    texts = [f"{value:.4g}" if isinstance(value, float) else str(value) for value in cells.values()]
    return grid(list(cells), [texts] if texts else [])


def kernels(steps: dict[str, Any]) -> list[str]:
    """Where an iteration spends its time, and what Nsight Compute says of the heaviest kernels."""
    profile, counters = steps.get("kernels", {}), steps.get("ncu", {}).get("kernels", [])
    rows = [
        [row["kernel"], f"{row['launches']:.0f}", amount(row["seconds"], "s")]
        for row in profile.get("kernels", [])
    ]
    lines = grid(["kernel", "launches per iteration", "time per iteration"], rows)
    rows = [
        [
            row["kernel"],
            amount(row.get("nanoseconds", 0) / 1e9, "s"),
            f"{row.get('memory_percent') or 0:.0f} %",
            f"{row.get('compute_percent') or 0:.0f} %",
        ]
        for row in counters
    ]
    heads = ["kernel, Nsight Compute", "time per launch", "of peak memory", "of peak compute"]
    return lines + grid(heads, rows)


def gpu_section(results: Path, *, rehearsals: bool = False) -> str:
    """The tables of every card with a report, or that there is none.

    Args:
        results: folder of reports.
        rehearsals: whether reports count that measured no GPU.
    """
    reports = [
        json.loads(path.read_text(encoding="utf-8")) for path in sorted(results.glob("*.json"))
    ]
    lines: list[str] = []
    for report in reports:
        if "steps" in report and (rehearsals or not report["rehearsal"]):
            lines += gpu_report(report)
    return "\n".join(lines) or UNMEASURED


def between(page: str, begin: str, end: str, text: str) -> str:
    """The page with ``text`` between two of its lines."""
    before, rest = page.split(begin)
    return f"{before}{begin}\n{text}{end}{rest.split(end)[1]}"


def main() -> None:
    """Rewrite the page between its markers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("report", nargs="?", type=Path, metavar="REPORT")
    parser.add_argument("--results", type=Path, metavar="FOLDER", help="where reports of GPUs are")
    parser.add_argument("--page", type=Path, default=PAGE)
    options = parser.parse_args()
    page = options.page.read_text(encoding="utf-8")
    if options.report:
        report = json.loads(options.report.read_text(encoding="utf-8"))
        page = between(page, BEGIN, END, "\n".join(tables(report["groups"])))
    # A rehearsal's figures are never those of a GPU: they reach no page but one of their own.
    section = gpu_section(options.results or RESULTS, rehearsals=options.results is not None)
    page = between(page, GPU_BEGIN, GPU_END, section)
    options.page.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
