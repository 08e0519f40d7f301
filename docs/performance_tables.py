"""Writes the tables of docs/performance.md: python docs/performance_tables.py REPORT.

REPORT is what ``lae bench --suite all --out REPORT`` wrote; the tables stand between two markers.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

BEGIN, END = "<!-- tables -->\n", "<!-- end of tables -->\n"
HEADINGS = {
    "iteration": "Iterations", "epoch": "An epoch", "scaling": "Scaling", "peak": "Memory",
}  # fmt: skip
"""First word of a group's name -> heading; operators are all the others."""


def amount(value: float, unit: str) -> str:
    """A time or a size, three digits."""
    if unit == "bytes":
        return f"{value / 2**20:.0f} MiB"
    scale, name = next((s for s in ((1, "s"), (1e3, "ms")) if value * s[0] >= 1), (1e6, "µs"))
    return f"{value * scale:.3g} {name}"


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
        cells = [row["variant"], amount(row["value"], group["unit"]), f"{row['ratio']:.2f}x"]
        cells += [f"{row['over_floor']:.2f}x" if row["over_floor"] else ""] if floor else []
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, ""]


def main() -> None:
    """Rewrite the page between its markers."""
    report = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    sections: dict[str, list[str]] = {"Operators": []} | {name: [] for name in HEADINGS.values()}
    for group in report["groups"]:
        word = group["group"].split(maxsplit=1)[0].rstrip(",")
        sections[HEADINGS.get(word, "Operators")] += table(group)
    lines = [
        line for name, found in sections.items() if found for line in (f"## {name}", "", *found)
    ]
    page = Path(__file__).with_name("performance.md")
    before, rest = page.read_text(encoding="utf-8").split(BEGIN)
    after = rest.split(END)[1]
    page.write_text(f"{before}{BEGIN}\n" + "\n".join(lines) + END + after, encoding="utf-8")


if __name__ == "__main__":
    main()
