"""Runs the benchmarks folder under pytest-benchmark and turns its results into ratios."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

import lae_fast
from lae_fast import progress

SUITES = {
    "micro": ("bench_ald.py", "bench_layers.py"),
    "iteration": ("bench_iteration.py",),
    "epoch": ("bench_epoch.py",),
    "scaling": ("bench_scaling.py",),
    "memory": ("bench_memory.py",),
}
"""Name of a suite -> its files in ``benchmarks/``."""
LOOK = 0.5
"""Seconds between two looks at how far the benchmarks are."""
GRACE = 10.0
"""Seconds that a benchmark gets beyond the time limit before it is ended."""
_LEFT_OUT = "left out"  # as benchmarks/budget.py says it


def run_suites(
    names: list[str],
    threads: int | None = None,
    *,
    device: str | None = None,
    max_time: float | None = None,
    only: str | None = None,
) -> dict[str, Any]:
    """Measure and report.

    Args:
        names: of `SUITES`.
        threads: threads to compute with; PyTorch's choice when None. With one, CPU time is taken
            in place of wall-clock time, so that others on the machine disturb less.
        device: ``cpu`` or ``cuda``; every device that is there when None.
        max_time: seconds after which no benchmark begins; one that still runs `GRACE` seconds
            later is ended.
        only: pytest's ``-k``: part of a benchmark's name, or an expression of parts.

    Returns:
        ``machine`` (what the figures belong to), ``date``, ``groups``, ``failed`` (why, by
        benchmark) and ``left_out`` (benchmarks for which no time was left). Each group has
        ``group``, ``unit`` (s or bytes) and ``rows`` with ``variant``, ``value``, ``ratio``
        (baseline over variant; variant over baseline for bytes and for scaling; None where the
        baseline is missing), ``over_floor`` (variant over the least it could take) where there is
        a floor, and ``bytes`` where a variant does little but move them. A time is the best of
        its rounds: what the code can do, whatever else the machine was doing. Times of several
        processes are wall-clock medians, which they took themselves.

    Raises:
        click.ClickException: nothing could be measured.
    """
    with tempfile.TemporaryDirectory() as temporary:
        lines = Path(temporary) / "lines"
        command = _command(names, lines, threads, device, only)
        ended, said = _run(command, lines, threads, max_time)
        measured = _measured(lines)
    if not measured.benchmarks:
        reasons = [f"{test}: {why}" for test, why in measured.failed.items()]
        reasons += ["no time was left"] * bool(measured.left_out) + said[-1:]
        raise click.ClickException(f"the benchmarks failed: {(reasons or ['?'])[0]}")
    if ended and measured.running:
        measured.failed[measured.running] = "ended: no time was left"
    return {
        "machine": _machine(measured.machine)
        | {"clock": "CPU time" if threads == 1 else "wall-clock time"},
        "date": datetime.now(UTC).isoformat(),
        "groups": groups(measured.benchmarks),
        "failed": measured.failed,
        "left_out": measured.left_out,
    }


def _command(
    names: list[str], lines: Path, threads: int | None, device: str | None, only: str | None
) -> list[str]:
    folder = _folder()
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:timeout",
        *(str(folder / file) for name in names for file in SUITES[name]),
        "-c",
        str(folder / "pytest.ini"),
        "--rootdir",
        str(folder),
        f"--lines={lines}",
        "--benchmark-disable-gc",
    ]
    if threads == 1:
        command.append("--benchmark-timer=time.process_time")
    if device is not None:
        command.append(f"--device={device}")
    if only is not None:
        command += ["-k", only]
    return command


def _run(
    command: list[str], lines: Path, threads: int | None, max_time: float | None
) -> tuple[bool, list[str]]:
    """Whether the benchmarks had to be ended, and the lines that they printed."""
    # A test run's own workers measure nothing; one that asks for benchmarks is no such worker.
    environ = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_XDIST")}
    if threads is not None:
        environ |= {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    limit = math.inf
    if max_time is not None:
        command = [*command, f"--until={time.time() + max_time}"]
        limit = time.monotonic() + max_time + GRACE
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with subprocess.Popen(command, **pipes, text=True, env=environ) as process:
        while time.monotonic() < limit:
            try:
                said, _ = process.communicate(timeout=min(LOOK, limit - time.monotonic()))
                return False, said.strip().splitlines()
            except subprocess.TimeoutExpired:
                progress.tell(_share(lines))
        process.kill()
    return True, []


def _share(path: Path) -> float:
    """How many of the benchmarks have ended, as a share."""
    measured = _measured(path)
    return measured.ended / measured.tests if measured.tests else 0.0


@dataclass
class _Measured:
    """What the benchmarks left on the disk."""

    machine: dict[str, Any] = field(default_factory=dict)
    benchmarks: list[dict[str, Any]] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    left_out: int = 0
    tests: int = 0
    """How many benchmarks there are."""
    ended: int = 0
    running: str = ""
    """The benchmark that had begun and not ended."""


def _measured(path: Path) -> _Measured:
    found = _Measured()
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    for line in lines:
        try:
            facts = json.loads(line)
        except ValueError:  # it was being written when the benchmarks were ended
            continue
        if "machine" in facts:
            found.machine = facts["machine"]
        elif "tests" in facts:
            found.tests = facts["tests"]
        elif "began" in facts:
            found.running = facts["test"]
        else:
            found.running = ""
            _count(found, facts)
    return found


def _count(found: _Measured, facts: dict[str, Any]) -> None:
    """One benchmark's end."""
    found.ended += 1
    if facts["outcome"] == "failed":
        found.failed[facts["test"]] = facts["message"]
    elif facts["outcome"] == "skipped":
        found.left_out += facts["message"].startswith(_LEFT_OUT)
    elif "benchmark" in facts["properties"]:
        found.benchmarks.append(facts["properties"]["benchmark"])


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
        "instructions": info.get("extension", {}).get("instruction_set", "?"),
        "cores": info.get("cores", "?"),
        "threads": info.get("threads", "?"),
        "gpu": info.get("gpu", "none"),
        "torch": info.get("torch", "?"),
        "python": info.get("python_version", "?"),
    }
    return {key: str(value) for key, value in facts.items()}


def groups(benchmarks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The groups of a report, as `run_suites` describes them.

    Args:
        benchmarks: what was measured, one entry per benchmark: ``group``, ``stats`` (``min``, in
            seconds) and ``extra_info``, as a file in ``benchmarks/`` gives it.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    for benchmark in benchmarks:
        found.setdefault(benchmark["group"], []).append(benchmark)
    return [_group(name, rows) for name, rows in found.items()]


def _group(name: str, benchmarks: list[dict[str, Any]]) -> dict[str, Any]:
    extras = [b["extra_info"] for b in benchmarks]
    in_bytes = "peak_bytes" in extras[0]
    values = {
        extra["variant"]: extra["peak_bytes"]
        if in_bytes
        else extra.get("measured_seconds", b["stats"]["min"])
        for extra, b in zip(extras, benchmarks, strict=True)
    }
    base = values.get(extras[0]["baseline"])
    cost = in_bytes or extras[0].get("cost", False)
    rows = []
    for extra in extras:
        value, floor = values[extra["variant"]], values.get(extra.get("floor"))
        row = {
            "variant": extra["variant"],
            "value": value,
            "ratio": None if base is None else value / base if cost else base / value,
            "over_floor": None if floor is None else value / floor,
        }
        rows.append(row | ({"bytes": extra["bytes"]} if "bytes" in extra else {}))
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
