"""Runs pytest-benchmark on the benchmarks folder and turns its report into ratios."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import click

import lae_fast

SUITES = {
    "micro": ("bench_ald.py", "bench_layers.py"),
    "iteration": ("bench_iteration.py",),
    "epoch": ("bench_epoch.py",),
    "scaling": ("bench_scaling.py",),
    "memory": ("bench_memory.py",),
}
"""Name of a suite -> its files in ``benchmarks/``."""


def run_suites(names: list[str], threads: int | None = None) -> dict[str, Any]:
    """Measure and report.

    Args:
        names: of `SUITES`.
        threads: threads to compute with; PyTorch's choice when None. With one, CPU time is taken
            in place of wall-clock time, so that others on the machine disturb less.

    Returns:
        ``machine`` (what the figures belong to), ``date``, and ``groups``: each has ``group``,
        ``unit`` (s or bytes) and ``rows`` with ``variant``, ``value``, ``ratio`` (baseline over
        variant; variant over baseline for bytes and for scaling), and ``over_floor`` (variant over
        the least it could take) where there is a floor. A time is the best of its rounds: what
        the code can do, whatever else the machine was doing. Times of several processes are
        wall-clock medians, which they took themselves.
    """
    folder = _folder()
    with tempfile.TemporaryDirectory() as temporary:
        report = Path(temporary) / "report.json"
        command = [
            sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:timeout",
            *(str(folder / file) for name in names for file in SUITES[name]),
            "-c", str(folder / "pytest.ini"), "--rootdir", str(folder),
            f"--benchmark-json={report}", "--benchmark-disable-gc",
        ]  # fmt: skip
        environ = dict(os.environ)
        if threads is not None:
            environ |= {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
        if threads == 1:
            command.append("--benchmark-timer=time.process_time")
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environ)
        if done.returncode != 0 or not report.exists():
            lines = (done.stdout + done.stderr).strip().splitlines()
            named = [line for line in lines if line.startswith(("FAILED", "ERROR"))] or lines[-1:]
            raise click.ClickException(f"the benchmarks failed: {named[0] if named else '?'}")
        raw = json.loads(report.read_text(encoding="utf-8"))
    return {
        "machine": _machine(raw["machine_info"])
        | {"clock": "CPU time" if threads == 1 else "wall-clock time"},
        "date": raw["datetime"],
        "groups": [_group(name, rows) for name, rows in _by_group(raw["benchmarks"]).items()],
    }


def _folder() -> Path:
    folder = Path(lae_fast.__file__).parents[1] / "benchmarks"
    if not (folder / SUITES["micro"][0]).exists():
        raise click.ClickException(
            "the benchmarks are part of the source checkout; install from it with "
            "`pip install --no-build-isolation -e .[dev]`"
        )
    if importlib.util.find_spec("pytest_benchmark") is None:
        raise click.ClickException("pytest-benchmark is missing; pip install pytest-benchmark")
    return folder


def _machine(info: dict[str, Any]) -> dict[str, str]:
    cpu = info.get("cpu", {})
    facts = {
        "cpu": cpu.get("brand_raw", info.get("machine", "?")),
        "instructions": info["extension"].get("instruction_set", "?"),
        "cores": info["cores"],
        "threads": info["threads"],
        "gpu": info.get("gpu", "none"),
        "torch": info["torch"],
        "python": info["python_version"],
    }
    return {key: str(value) for key, value in facts.items()}


def _by_group(benchmarks: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    groups: dict[str, list[dict[str, Any]]] = {}
    for benchmark in benchmarks:
        groups.setdefault(benchmark["group"], []).append(benchmark)
    return groups


def _group(name: str, benchmarks: list[dict[str, Any]]) -> dict[str, Any]:
    extras = [b["extra_info"] for b in benchmarks]
    in_bytes = "peak_bytes" in extras[0]
    values = {
        extra["variant"]: extra["peak_bytes"]
        if in_bytes
        else extra.get("measured_seconds", b["stats"]["min"])
        for extra, b in zip(extras, benchmarks, strict=True)
    }
    base = values[extras[0]["baseline"]]
    cost = in_bytes or extras[0].get("cost", False)
    rows = [
        {
            "variant": extra["variant"],
            "value": v,
            "ratio": v / base if cost else base / v,
            "over_floor": v / values[extra["floor"]] if extra.get("floor") else None,
        }
        for extra in extras
        for v in (values[extra["variant"]],)
    ]
    return {"group": name, "unit": "bytes" if in_bytes else "s", "rows": rows}


def compare(report: dict[str, Any], before: dict[str, Any]) -> None:
    """Give every row of ``report`` that ``before`` has too its ``before`` over its value."""
    known = {
        (group["group"], row["variant"]): row["value"]
        for group in before["groups"]
        for row in group["rows"]
    }
    for group in report["groups"]:
        for row in group["rows"]:
            earlier = known.get((group["group"], row["variant"]))
            row["before_over_now"] = earlier / row["value"] if earlier else None
