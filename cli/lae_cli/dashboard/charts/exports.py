"""What a view can be saved as: a table as CSV or JSON, the screen as SVG."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lae_cli.dashboard.charts.metrics import Drawing
from lae_fast.errors import reason

FORMATS = ("csv", "json", "svg")


class ExportError(ValueError):
    """Why nothing was written; one line."""


@dataclass(frozen=True)
class Rows:
    """A table to be saved."""

    name: str
    """A stem for the file's name."""
    header: Sequence[str]
    rows: Sequence[Sequence[Any]]


def of_drawings(name: str, drawings: Sequence[Drawing]) -> Rows:
    """Every point of some charts, one per row, not thinned."""
    rows = [
        (drawing.metric.title, f"{line.run} {line.label}".strip(), drawing.x_axis, x, y)
        for drawing in drawings
        for line in drawing.series
        if not line.faint
        for x, y in zip(line.x.tolist(), line.y.tolist(), strict=True)
    ]
    return Rows(name, ("chart", "series", "x axis", "x", "y"), rows)


def file_name(stem: str, fmt: str) -> str:
    """A name without anything that a shell or a path would trip over."""
    safe = "".join(c if c.isalnum() or c in "-_." else "-" for c in stem).strip("-.") or "export"
    return f"{safe[:100]}.{fmt}"


def write(path: Path, rows: Rows, svg: str) -> None:
    """Write a new file in the format that its name ends in.

    Raises:
        ExportError: another ending, a file that exists, or one that cannot be written.
    """
    fmt = path.suffix.removeprefix(".").lower()
    if fmt not in FORMATS:
        raise ExportError(f"end the name in {', '.join('.' + name for name in FORMATS)}")
    text = svg if fmt == "svg" else (as_csv(rows) if fmt == "csv" else as_json(rows))
    try:
        with open(path, "x", encoding="utf-8", newline="") as file:
            file.write(text)
    except FileExistsError as error:
        raise ExportError(f"{path} exists; choose another name") from error
    except (OSError, ValueError) as error:
        raise ExportError(f"cannot write {path}: {reason(error)}") from error


def as_csv(rows: Rows) -> str:
    """A header, and a line per row."""
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    table.writerow(rows.header)
    table.writerows(rows.rows)
    return out.getvalue()


def as_json(rows: Rows) -> str:
    """One object per row; numbers that JSON cannot hold are null."""
    objects = [
        {key: _finite(value) for key, value in zip(rows.header, row, strict=True)}
        for row in rows.rows
    ]
    return json.dumps(objects, indent=1, allow_nan=False) + "\n"


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
