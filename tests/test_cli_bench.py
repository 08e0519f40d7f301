"""What ``lae bench`` makes of a report; the benchmarks themselves run apart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from lae_cli import benchmarks
from lae_cli.commands import bench as command
from lae_cli.main import lae


def entry(variant: str, seconds: float, **extra: Any) -> dict[str, Any]:
    return {
        "group": "g",
        "stats": {"min": seconds},
        "extra_info": {"variant": variant, "baseline": "naive", "floor": None} | extra,
    }


def test_ratios_are_of_the_baseline_and_of_the_floor() -> None:
    rows = benchmarks._group(
        "g",
        [entry("naive", 6.0), entry("fused", 2.0, floor="products"), entry("products", 1.6)],
    )["rows"]
    assert [row["ratio"] for row in rows] == pytest.approx([1.0, 3.0, 3.75])
    assert [row["over_floor"] for row in rows] == [None, pytest.approx(1.25), None]


def test_costs_are_over_the_baseline() -> None:
    scaling = [entry("naive", 2.0, cost=True), entry("T 50", 8.0, cost=True)]
    assert [row["ratio"] for row in benchmarks._group("g", scaling)["rows"]] == [1.0, 4.0]
    ranks = [
        entry(name, 9.0, cost=True, measured_seconds=s) for name, s in (("naive", 2.0), ("2", 1.0))
    ]
    assert [row["ratio"] for row in benchmarks._group("g", ranks)["rows"]] == [1.0, 0.5]
    memory = [entry("naive", 0, peak_bytes=100), entry("T 50", 0, peak_bytes=150)]
    group = benchmarks._group("g", memory)
    assert group["unit"] == "bytes"
    assert [row["ratio"] for row in group["rows"]] == [1.0, 1.5]


def test_every_suite_has_its_files_and_every_file_its_suite() -> None:
    folder = Path(__file__).parents[1] / "benchmarks"
    files = {file for suite in benchmarks.SUITES.values() for file in suite}
    assert files == {path.name for path in folder.glob("bench_*.py")}


def report(seconds: float) -> dict[str, Any]:
    row = {"variant": "fused", "value": seconds, "ratio": 3.0, "over_floor": 1.2}
    return {"machine": {"cpu": "?"}, "groups": [{"group": "g", "unit": "s", "rows": [row]}]}


def test_compare_shows_the_earlier_time_over_this_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "run_suites", lambda names, threads: report(0.5))
    earlier = tmp_path / "earlier.json"
    earlier.write_text(json.dumps(report(0.8)))
    shown = CliRunner().invoke(lae, ["bench", "--compare", str(earlier)])
    assert shown.exit_code == 0
    assert "1.60x" in shown.stdout
    assert "1.20x" in shown.stdout
    plain = CliRunner().invoke(lae, ["bench", "--compare", str(earlier), "--json"])
    assert json.loads(plain.stdout)["groups"][0]["rows"][0]["before_over_now"] == 1.6


@pytest.mark.parametrize("text", ["", "{}", '{"groups": [{"rows": [{}]}]}', "[1]"])
def test_what_is_no_report_is_refused_in_one_line_before_measuring(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setattr(command, "run_suites", lambda names, threads: pytest.fail("measured"))
    earlier = tmp_path / "earlier.json"
    earlier.write_text(text)
    refused = CliRunner().invoke(lae, ["bench", "--compare", str(earlier)])
    assert refused.exit_code != 0
    assert "is not a report of lae bench" in refused.stderr
    assert refused.stderr.strip().count("\n") == 0
