"""What ``make gpu`` does: its steps, their commands and budgets, and how their results are read."""

from __future__ import annotations

import csv
import json
import math
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from budget import LEFT_OUT, read_lines

ROOT = Path(__file__).resolve().parents[1]
RESERVE = 6.0
"""Seconds before a step's end at which it begins nothing new."""
BUDGETS = {
    "build": 80,
    "tests": 75,
    "graphs": 30,
    "memcheck": 35,
    "racecheck": 35,
    "synccheck": 25,
    "micro": 75,
    "iteration": 75,
    "scaling": 25,
    "training": 75,
    "kernels": 20,
    "ncu": 25,
}
"""Seconds of each step; together ten minutes, less what starting and reporting take."""
FITS = """
import sys
from lae_fast import ops
sys.exit(None if ops.has_cuda_kernels(0) else "the kernels that were built do not fit this card")
"""
NCU_METRICS = {
    "gpu__time_duration.sum": "nanoseconds",
    "dram__throughput.avg.pct_of_peak_sustained_elapsed": "memory_percent",
    "sm__throughput.avg.pct_of_peak_sustained_elapsed": "compute_percent",
}
"""What Nsight Compute measures -> its name in the JSON file."""
Result = dict[str, Any]


@dataclass(frozen=True)
class Step:
    """One step of the plan.

    Attributes:
        name: one word.
        what: one line about it.
        budget: seconds.
        command: what to run, given the seconds that it has.
        read: what its files and its log say, also if it was cut off.
        environ: variables to set; a variable without a value is removed.
        missing: why it cannot run here, or nothing.
        unavailable: the exit code with which the command says that it cannot run here.
    """

    name: str
    what: str
    budget: float
    command: Callable[[float], list[str]]
    read: Callable[[Path], Result] = lambda log: {}
    environ: Mapping[str, str | None] = field(default_factory=dict)
    missing: Callable[[], str] = lambda: ""
    unavailable: int | None = None


def plan(folder: Path, facts: Mapping[str, Any], *, rehearsal: bool) -> list[Step]:
    """The steps in their order.

    Args:
        folder: for what the steps write.
        facts: of `lae_fast`'s build and the card, from the probe.
        rehearsal: on the CPU, at the smallest sizes.
    """
    return [
        _build(facts, rehearsal),
        _tests(folder, rehearsal),
        _graphs(folder, rehearsal),
        *(_sanitizer(tool, folder) for tool in ("memcheck", "racecheck", "synccheck")),
        *(_bench(suite, folder, rehearsal) for suite in ("micro", "iteration", "scaling")),
        _training(folder, rehearsal),
        _kernels(folder, rehearsal),
        _ncu(folder, rehearsal),
    ]


def _build(facts: Mapping[str, Any], rehearsal: bool) -> Step:
    python = sys.executable
    if rehearsal:
        words = [python, "setup.py", "--name", "--version"]
        return Step("build", "setup.py, without building", BUDGETS["build"], lambda limit: words)
    # What was built for other cards counts as up to date.
    force = [] if str(facts.get("capability")) in facts.get("built_for", "") else ["--force"]
    script = '"$0" setup.py build_ext --inplace "$@" && "$0" -c "$FITS"'
    words = ["bash", "-c", script, python, *force]
    environ = {"LAE_BUILD_CUDA": "1", "TORCH_CUDA_ARCH_LIST": None, "FITS": FITS}
    what = "the kernels, for this card"
    return Step("build", what, BUDGETS["build"], lambda limit: words, environ=environ)


def _pytest(lines: Path, limit: float, *words: str) -> list[str]:
    """Arguments of pytest for a run that keeps to its time and writes its lines."""
    until = time.time() + limit - RESERVE
    plugin = ["-p", "benchmarks.budget", f"--lines={lines}", f"--until={until}"]
    return ["-q", "-p", "no:cacheprovider", *plugin, *words]


def _tests(folder: Path, rehearsal: bool) -> Step:
    lines = folder / "tests.jsonl"
    words = ["-m", "cuda", "--on=cuda", "--ignore=tests/train/trainers/test_graph.py"]
    words += ["-n", "auto", "--maxprocesses=4", "--dist=loadfile", "--timeout=60", "tests"]
    what = "all tests of the CUDA kernels but those of graphs"
    if rehearsal:
        words = ["-m", "cuda", "--on=emulated", "tests/ops/test_log_ratio.py"]
        what = "a file of tests, on the emulated device"
    return Step(
        "tests",
        what,
        BUDGETS["tests"],
        lambda limit: [sys.executable, "-m", "pytest", *_pytest(lines, limit, *words)],
        lambda log: counts(lines),
        environ={"OMP_NUM_THREADS": "1"},
    )


def _graphs(folder: Path, rehearsal: bool) -> Step:
    lines = folder / "graphs.jsonl"
    words = ["-m", "cuda", "--on=cuda", "--timeout=60", "tests/train/trainers/test_graph.py"]
    what = "a CUDA graph of every trainer, beside its kernels one by one"
    if rehearsal:
        words = ["-k", "warm_up", "tests/train/trainers/test_graph.py"]
        what = "tests of graphs that need no GPU"

    def read(log: Path) -> Result:
        return counts(lines) | {"by_name": outcomes(lines)}

    return Step(
        "graphs",
        what,
        BUDGETS["graphs"],
        lambda limit: [sys.executable, "-m", "pytest", *_pytest(lines, limit, *words)],
        read,
    )


def _sanitizer(tool: str, folder: Path) -> Step:
    lines = folder / f"{tool}.jsonl"

    def command(limit: float) -> list[str]:
        return ["bash", "tests/tools/sanitize_cuda.sh", *_pytest(lines, limit, "--spread")]

    return Step(
        tool,
        f"the operators' tests under compute-sanitizer's {tool}, as many as fit",
        BUDGETS[tool],
        command,
        lambda log: counts(lines) | sanitizer_errors(log),
        environ={"TOOLS": tool, "PYTHON": sys.executable},
        unavailable=2,
    )


def _lae(*words: str) -> list[str]:
    return [sys.executable, "-m", "lae_cli", *words]


SMALLEST = {
    "micro": "test_operator and step_rows_ and shape0 and not compile",
    "iteration": "vae",
    "scaling": "steps-1",
}
"""What of a suite a rehearsal measures."""


def _bench(suite: str, folder: Path, rehearsal: bool) -> Step:
    out = folder / f"{suite}.json"
    device = "cpu" if rehearsal else "cuda"
    words = ["--only", SMALLEST[suite]] if rehearsal else []

    def command(limit: float) -> list[str]:
        time_left = max(1.0, limit - RESERVE - 10)  # a benchmark that runs on gets 10 s
        options = ["--device", device, "--max-time", f"{time_left:.1f}", "--out", str(out)]
        return _lae("bench", "--suite", suite, *options, *words)

    return Step(
        suite,
        f"lae bench --suite {suite} --device {device}",
        BUDGETS[suite],
        command,
        lambda log: read_bench(out),
    )


def _training(folder: Path, rehearsal: bool) -> Step:
    root = folder / "runs"
    words = ["--dataset", "digits", "--steps", "50", "--mh", "--patience", "0"]
    words += ["--epochs", "1000000", "--run-root", str(root)]
    words += ["--device", "cpu", "--max-time", "2"] if rehearsal else ["--device", "cuda"]
    words += [] if rehearsal else ["--max-time", "60"]
    return Step(
        "training",
        f"lae train for {2 if rehearsal else 60} s on digits, T = 50, with MH",
        BUDGETS["training"],
        lambda limit: _lae("train", *words),
        lambda log: read_training(root),
    )


def _kernels(folder: Path, rehearsal: bool) -> Step:
    out = folder / "kernels.json"
    words = ["benchmarks/profile_kernels.py", "--out", str(out)]
    words += ["--device=cpu", "--steps=2", "--batch=64", "--iterations=1"] if rehearsal else []
    return Step(
        "kernels",
        "where an iteration at T = 50 spends its time, by PyTorch's profiler",
        BUDGETS["kernels"],
        lambda limit: [sys.executable, *words],
        lambda log: read_json(out),
    )


def _ncu(folder: Path, rehearsal: bool) -> Step:
    ncu = find_tool("ncu")

    def heaviest() -> list[str]:
        return list(read_json(folder / "kernels.json").get("heaviest", []))

    def missing() -> str:
        if rehearsal:
            return "Nsight Compute needs a GPU"
        if ncu is None:
            return "ncu (Nsight Compute) was not found; it comes with the CUDA toolkit"
        return "" if heaviest() else "the step kernels has not said which are the heaviest"

    def command(limit: float) -> list[str]:
        chosen = "regex:^(" + "|".join(heaviest()) + ")$"
        words = ["--csv", "--print-units", "base", "--metrics", ",".join(NCU_METRICS)]
        words += ["--kernel-name", chosen, "--launch-count", "24"]
        return [str(ncu), *words, sys.executable, "benchmarks/profile_kernels.py", "--once"]

    return Step(
        "ncu",
        "the three heaviest of our kernels under Nsight Compute",
        BUDGETS["ncu"],
        command,
        lambda log: {"kernels": ncu_kernels(log)},
        missing=missing,
    )


def find_tool(name: str) -> Path | None:
    """A program of the CUDA toolkit: on PATH, or in the toolkit's folder."""
    home = Path(os.environ.get("CUDA_HOME") or "/usr/local/cuda")
    found = shutil.which(name) or shutil.which(str(home / "bin" / name))
    return Path(found) if found else None


def outcomes(lines: Path) -> dict[str, str]:
    """How each test ended, by its name without its file."""
    found: dict[str, str] = {}
    for line in read_lines(lines):
        name = line["test"].split("::", 1)[-1]
        if "outcome" in line and found.get(name) != "failed":
            found[name] = line["outcome"]
    return found


def counts(lines: Path) -> Result:
    """How many tests passed, failed, were skipped or left out; which failed, which never ended.

    Nothing if no test began.
    """
    ended: dict[str, tuple[str, str]] = {}
    began: list[str] = []
    for line in read_lines(lines):
        if "began" in line:
            began.append(line["test"])
        elif ended.get(line["test"], ("",))[0] != "failed":
            late = line["message"] == LEFT_OUT
            ended[line["test"]] = ("left_out" if late else line["outcome"], line["message"])
    if not began:
        return {}
    names = ("passed", "failed", "skipped", "left_out")
    found: Result = {name: sum(how == name for how, _ in ended.values()) for name in names}
    found["failures"] = {test: why for test, (how, why) in ended.items() if how == "failed"}
    found["not_ended"] = [test for test in began if test not in ended]
    return found


def sanitizer_errors(log: Path) -> Result:
    """Errors in the tool's summary, over all processes; nothing if it has not come to one."""
    text = log.read_text(encoding="utf-8", errors="replace")
    found = re.findall(r"ERROR SUMMARY: (\d+) error|(\d+) hazards? displayed", text)
    return {"errors": sum(int(a or b) for a, b in found)} if found else {}


def read_json(path: Path) -> Result:
    """A file's object; an empty one if there is none."""
    if not path.exists():
        return {}
    found = json.loads(path.read_text(encoding="utf-8"))
    return found if isinstance(found, dict) else {}


def read_bench(path: Path) -> Result:
    """A report of ``lae bench``: its groups, its machine, and what it could not measure."""
    report = read_json(path)
    return {name: report[name] for name in ("machine", "groups", "failed", "left_out") if report}


def read_training(root: Path) -> Result:
    """What the folder of the one run in ``root`` says."""
    from lae_fast import runs
    from lae_fast.runs.events import RunStarted
    from lae_fast.runs.log import read_ends

    names = ("steps", "epochs", "train_loss", "best_val_loss", "accept_rate", "step_size")
    names += ("images_per_second", "elapsed")
    for run in runs.folders(root):
        summary = runs.summarise(run)
        engines = [e.engine for e in read_ends(run) if isinstance(e, RunStarted)]
        known = {"ended": summary.status, "engine": engines[0] if engines else None}
        return known | {name: finite(getattr(summary, name)) for name in names}
    return {}


def finite(value: Any) -> Any:
    """None in place of a number that JSON does not know."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def ncu_kernels(log: Path) -> list[Result]:
    """The means over the launches of each kernel, from Nsight Compute's table of metrics."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    begin = next((i for i, line in enumerate(lines) if line.startswith('"ID"')), len(lines))
    values: dict[str, dict[str, list[float]]] = {}
    for row in csv.DictReader(lines[begin:]):
        metric, kernel = NCU_METRICS.get(row.get("Metric Name") or ""), row.get("Kernel Name")
        if metric and kernel:
            name = re.split(r"[<(]", kernel.split("::")[-1])[0]
            number = float((row["Metric Value"] or "nan").replace(",", ""))
            values.setdefault(name, {}).setdefault(metric, []).append(number)
    return [
        {"kernel": kernel, "launches": max(map(len, found.values()))}
        | {metric: finite(sum(each) / len(each)) for metric, each in found.items()}
        for kernel, found in values.items()
    ]
