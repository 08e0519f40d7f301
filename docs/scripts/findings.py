"""Write the tables of what is judged of a run, from the limits in lae_fast/runs/health.py.

python docs/scripts/findings.py
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

from performance_tables import between, grid

from lae_fast.runs.health import DASHBOARD, DIAGNOSE, TABLE, TRAINER, Threshold

DOCS = Path(__file__).parents[1]
MARKS = "<!-- findings -->\n", "<!-- end of findings -->\n"


def limit(threshold: Threshold) -> str:
    """On which side of which number the trouble lies."""
    return "not finite" if math.isinf(threshold.value) else f"{threshold.side} {threshold.value:g}"


def brief(judge: str) -> list[str]:
    """What one reader of a run judges."""
    rows = [
        [t.name if t.essential else f"{t.name} (a note)", limit(t), t.unit, t.meaning, t.remedy]
        for t in TABLE
        if judge in t.by
    ]
    return grid(["finding", "limit", "of", "what is wrong", "what to do"], rows)


def whole() -> list[str]:
    """Every limit, and why some differ."""
    rows = [
        [t.name, limit(t), t.unit, f"{' and '.join(t.by)}: {t.when}", t.meaning, t.remedy]
        for t in TABLE
    ]
    heads = ["finding", "limit", "of", "judged by", "what is wrong", "what to do"]
    return grid(heads, rows)


def pages() -> Iterator[tuple[Path, str]]:
    """Each page with a table, and its text as it should be."""
    for name, table in (
        ("reference/findings.md", whole()),
        ("guide/dashboard.md", brief(DASHBOARD)),
        ("guide/settings.md", brief(TRAINER)),
        ("guide/trust.md", brief(DIAGNOSE)),
    ):
        text = (DOCS / name).read_text(encoding="utf-8")
        yield DOCS / name, between(text, *MARKS, "\n".join([*table, ""]))


if __name__ == "__main__":
    for page, text in pages():
        page.write_text(text, encoding="utf-8")
