"""What ``lae bench`` makes of a report; the benchmarks themselves run apart."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import lae_fast
from helpers.command_line import ROOT
from lae_cli.commands import bench as command
from lae_cli.health import benchmarks
from lae_cli.main import lae
from lae_fast.progress import heard


def entry(variant: str, seconds: float, **extra: Any) -> dict[str, Any]:
    return {
        "group": "g",
        "stats": {"min": seconds},
        "extra_info": {"variant": variant, "baseline": "naive", "floor": None} | extra,
    }


def ratios(*measured: dict[str, Any]) -> list[float | None]:
    (group,) = benchmarks.groups(list(measured))
    return [row["ratio"] for row in group["rows"]]


def test_ratios_are_of_the_baseline_and_of_the_floor() -> None:
    measured = [entry("naive", 6.0), entry("fused", 2.0, floor="products"), entry("products", 1.6)]
    assert ratios(*measured) == pytest.approx([1.0, 3.0, 3.75])
    rows = benchmarks.groups(measured)[0]["rows"]
    assert [row["over_floor"] for row in rows] == [None, pytest.approx(1.25), None]


def test_costs_are_over_the_baseline() -> None:
    scaling = [entry("naive", 2.0, cost=True), entry("T 50", 8.0, cost=True)]
    assert ratios(*scaling) == [1.0, 4.0]
    ranks = [
        entry(name, 9.0, cost=True, measured_seconds=s) for name, s in (("naive", 2.0), ("2", 1.0))
    ]
    assert ratios(*ranks) == [1.0, 0.5]
    memory = [entry("naive", 0, peak_bytes=100), entry("T 50", 0, peak_bytes=150)]
    assert ratios(*memory) == [1.0, 1.5]
    assert benchmarks.groups(memory)[0]["unit"] == "bytes"


def test_groups_are_told_apart_in_their_order() -> None:
    measured = [entry("naive", 2.0) | {"group": name} for name in ("b", "a", "b")]
    found = benchmarks.groups(measured)
    assert [(group["group"], len(group["rows"])) for group in found] == [("b", 2), ("a", 1)]


def test_without_its_baseline_or_floor_a_variant_has_no_ratio() -> None:
    (group,) = benchmarks.groups([entry("fused", 2.0, floor="products", bytes=8)])
    (row,) = group["rows"]
    assert row == {
        "variant": "fused",
        "value": 2.0,
        "ratio": None,
        "over_floor": None,
        "bytes": 8,
    }


def lines(path: Path, *facts: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(each) + "\n" for each in facts) + '{"test": "cut')
    return path


def ended(name: str, outcome: str, message: str = "", **properties: Any) -> dict[str, Any]:
    return {"test": name, "outcome": outcome, "message": message, "properties": properties}


def test_what_was_measured_before_an_end_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One failed, one was left out, one hung; the figures of the others are there."""

    def command(names: list[str], path: Path, *options: Any) -> list[str]:
        lines(
            path,
            {"machine": {"cores": 2}},
            {"tests": 10},
            {"test": "one", "began": 0.0},
            ended("one", "passed", benchmark=entry("naive", 6.0)),
            ended("two", "failed", "RuntimeError: no"),
            ended("three", "skipped", "left out: no time was left"),
            ended("four", "skipped", "graphs are CUDA's"),
            {"test": "five", "began": 1.0},
        )
        return [sys.executable, "-c", "import time; time.sleep(60)"]

    monkeypatch.setattr(lae_fast, "__file__", str(ROOT / "lae_fast" / "__init__.py"))
    monkeypatch.setattr(benchmarks, "_command", command)
    monkeypatch.setattr(benchmarks, "GRACE", 0.0)
    monkeypatch.setattr(benchmarks, "LOOK", 0.1)
    told: list[float] = []
    with heard(told.append):
        found = benchmarks.run_suites(["micro"], device="cpu", max_time=0.5)
    assert set(told) == {0.4}
    assert [row["value"] for group in found["groups"] for row in group["rows"]] == [6.0]
    assert found["machine"]["cores"] == "2"
    assert found["left_out"] == 1
    assert found["failed"] == {"two": "RuntimeError: no", "five": "ended: no time was left"}


def test_a_benchmark_that_failed_is_named_beside_the_figures(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = report(0.5) | {"failed": {"bench_x::test_y": "RuntimeError: no"}, "left_out": 3}
    monkeypatch.setattr(command, "run_suites", lambda *names, **limits: found)
    shown = CliRunner().invoke(lae, ["bench"])
    assert shown.exit_code == 1
    assert "fused" in shown.stdout
    assert "no time was left for 3 benchmarks" in shown.stderr
    assert "1 of the benchmarks failed: bench_x::test_y: RuntimeError: no" in shown.stderr


@pytest.mark.slow
def test_a_suite_is_measured_within_its_time(tmp_path: Path) -> None:
    out = tmp_path / "report.json"
    words = [
        "bench",
        "--device",
        "cpu",
        "--only",
        "test_operator and step_rows_ and eager",
        "--max-time",
        "20",
    ]
    shown = CliRunner().invoke(lae, [*words, "--out", str(out)])
    assert shown.exit_code == 0, shown.stderr
    found = json.loads(out.read_text())
    assert found["groups"][0]["group"] == "step_rows_, 1x512, cpu"
    assert all(row["value"] > 0 for group in found["groups"] for row in group["rows"])


def test_every_suite_has_its_files_and_every_file_its_suite() -> None:
    folder = ROOT / "benchmarks"
    files = {file for suite in benchmarks.SUITES.values() for file in suite}
    assert files == {path.name for path in folder.glob("bench_*.py")}


def report(seconds: float) -> dict[str, Any]:
    row = {"variant": "fused", "value": seconds, "ratio": 3.0, "over_floor": 1.2}
    groups = [{"group": "g", "unit": "s", "rows": [row]}]
    return {"machine": {"cpu": "?"}, "groups": groups, "failed": {}, "left_out": 0}


def test_compare_shows_the_earlier_time_over_this_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "run_suites", lambda *names, **limits: report(0.5))
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
    monkeypatch.setattr(command, "run_suites", lambda *names, **limits: pytest.fail("measured"))
    earlier = tmp_path / "earlier.json"
    earlier.write_text(text)
    refused = CliRunner().invoke(lae, ["bench", "--compare", str(earlier)])
    assert refused.exit_code != 0
    assert "is not a report of lae bench" in refused.stderr
    assert refused.stderr.strip().count("\n") == 0
