"""The first ten minutes on a GPU: build, test, sanitize, measure, train and profile on one card.

    make gpu                             # or: python benchmarks/gpu.py
    python benchmarks/gpu.py --dry-run   # the plan, rehearsed on the CPU

Each step has a budget; what earlier steps did not need of theirs is left to later ones. A step that
runs over is cut off, reported as such, and the next one runs. The report,
``benchmarks/results/<card>.json``, is written anew after every step, so an end at any moment loses
only the step that was running. At the end the GPU's tables in docs/performance.md are rewritten.

Exit code 0 if every step that could run passed, 1 if one failed or was cut off, 2 without a GPU.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import gpu_steps
from gpu_steps import ROOT, Result, Step

from lae_fast.runs.files import write_atomically

PROBE = """
import json, torch
facts = {"torch": torch.__version__, "cuda": torch.version.cuda or "none"}
if torch.cuda.is_available():
    card = torch.cuda.get_device_properties(0)
    facts |= {"gpu": card.name, "capability": f"{card.major}.{card.minor}",
              "memory_bytes": card.total_memory, "multiprocessors": card.multi_processor_count}
try:
    from lae_fast import ops
    facts["built_for"] = str(ops.build_info()["cuda_architectures"])
except ImportError:
    pass
print(json.dumps(facts))
"""
"""In a process of its own: this one holds no part of the card while others measure."""
PATIENCE = 3.0
"""Seconds between asking a step to end and ending it."""
LONGEST = 300
"""Characters of a message."""
NOT_REACHED, RUNNING = "not reached", "running"
PASSED, FAILED, CUT_OFF, UNAVAILABLE = "passed", "failed", "cut off", "not available"


class Report:
    """What is known so far; on the disk after every change.

    Args:
        path: of the file.
        facts: about the machine.
        steps: of the plan.
        rehearsal: whether no GPU is measured.
    """

    def __init__(
        self, path: Path, facts: Mapping[str, Any], steps: list[Step], *, rehearsal: bool
    ) -> None:
        self.path = path
        self.steps: dict[str, Result] = {
            step.name: {"status": NOT_REACHED, "budget": step.budget} for step in steps
        }
        self.content: Result = {
            "machine": dict(facts),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "commit": commit(),
            "rehearsal": rehearsal,
            "seconds": 0.0,
            "steps": self.steps,
            "groups": [],
        }

    def note(self, name: str, result: Result) -> None:
        """Put in what a step has come to, and write."""
        self.content["groups"] += result.pop("groups", [])
        self.content["machine"] = result.pop("machine", {}) | self.content["machine"]
        self.steps[name] |= result
        self.write()

    def write(self) -> None:
        """Replace the file."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self.path, json.dumps(self.content, indent=1) + "\n")


def probe() -> Result:
    """The card, PyTorch, and what the kernels were built for."""
    done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, cwd=ROOT)
    facts: Result = json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else {}
    smi = shutil.which("nvidia-smi")
    if "gpu" in facts and smi:
        words = [smi, "--query-gpu=driver_version", "--format=csv,noheader"]
        said = subprocess.run(words, capture_output=True, text=True, check=False).stdout.split()
        facts |= {"driver": said[0]} if said else {}
    return facts


def commit() -> str:
    """The commit that is measured, with a plus where files differ from it; ? without git."""
    words = ["git", "describe", "--always", "--abbrev=12", "--dirty=+", "--exclude=*"]
    with contextlib.suppress(OSError):
        done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, check=False)
        return done.stdout.strip() or "?"
    return "?"


def file_name(card: str) -> str:
    """A card's name as that of a file: ``NVIDIA H100 80GB HBM3`` is ``nvidia-h100-80gb-hbm3``."""
    return re.sub(r"[^a-z0-9]+", "-", card.lower()).strip("-")


def run_limited(step: Step, limit: float, log: Path) -> int | None:
    """The exit code of a step's command, or None if it had to be ended."""
    environ = {**os.environ, **step.environ}
    environ = {name: value for name, value in environ.items() if value is not None}
    with log.open("wb") as out:
        child = subprocess.Popen(
            step.command(limit),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            env=environ,
            start_new_session=True,
        )
        try:
            return child.wait(max(0.1, limit - PATIENCE))
        except subprocess.TimeoutExpired:
            return None
        finally:
            end(child)


def end(child: subprocess.Popen[bytes]) -> None:
    """End a process and all that it started, which may outlive it."""
    with contextlib.suppress(ProcessLookupError):
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(PATIENCE)
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def run_step(step: Step, limit: float, folder: Path) -> Result:
    """What a step comes to: status, seconds, a message where there is one, and what it found."""
    missing = step.missing()
    if missing:
        return {"status": UNAVAILABLE, "seconds": 0.0, "message": missing}
    began, log = time.monotonic(), folder / f"{step.name}.log"
    try:
        code = run_limited(step, limit, log)
    except OSError as error:
        return {"status": FAILED, "seconds": 0.0, "message": tidy(str(error))}
    result: Result = {"status": status(step, code), "seconds": time.monotonic() - began}
    result["message"] = "" if code == 0 else message(code, limit, log)
    try:
        result |= step.read(log)
    except Exception as error:  # whatever it wrote, the steps after it are still to run
        result["message"] = tidy(f"its result cannot be read: {error!r}")
        result["status"] = FAILED if code == 0 else result["status"]
    return result


def status(step: Step, code: int | None) -> str:
    """An exit code in words."""
    if code is None:
        return CUT_OFF
    if code == 0:
        return PASSED
    return UNAVAILABLE if code == step.unavailable else FAILED


def message(code: int | None, limit: float, log: Path) -> str:
    """Why a step did not pass: the last line that it printed."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    last = next((line for line in reversed(lines) if line.strip()), f"exit code {code}")
    return tidy(f"cut off after {limit:.0f} s; last line: {last}" if code is None else last)


def tidy(text: str) -> str:
    """A message without this machine's paths, on one line."""
    for path, name in ((sys.prefix, ".venv"), (str(ROOT), "."), (str(Path.home()), "~")):
        text = text.replace(path, name)
    return " ".join(text.split())[:LONGEST]


def run_plan(
    steps: list[Step], report: Report, folder: Path, say: Callable[[str], object] = print
) -> None:
    """Run the steps one after another; the report is on the disk after each."""
    began, end_of_step = time.monotonic(), 0.0
    for number, step in enumerate(steps, start=1):
        end_of_step += step.budget
        limit = end_of_step - (time.monotonic() - began)
        say(f"[{number:>2}/{len(steps)}] {step.name}: {step.what}; at most {limit:.0f} s")
        report.note(step.name, {"status": RUNNING, "limit": round(limit, 1)})
        result = run_step(step, limit, folder)
        report.content["seconds"] = round(time.monotonic() - began, 1)
        report.note(step.name, result)
        say(f"        {in_words(result)}")


def in_words(result: Result) -> str:
    """A step's result on one line."""
    parts = [f"{result['status']} in {result['seconds']:.0f} s"]
    names = ("passed", "failed", "skipped", "left_out", "errors")
    numbers = [f"{result[k]} {k}" for k in names if result.get(k) and isinstance(result[k], int)]
    parts += [", ".join(numbers).replace("left_out", "left out")] if numbers else []
    return "; ".join([*parts, *filter(None, [result.get("message")])])


def write_page(report: Path, *, rehearsal: bool) -> None:
    """Rewrite the GPU's tables in docs/performance.md; in a rehearsal, in a copy of it."""
    words = [sys.executable, str(ROOT / "docs" / "scripts" / "performance_tables.py")]
    if rehearsal:
        page = report.with_name("performance.md")
        shutil.copy(ROOT / "docs" / "performance.md", page)
        words += ["--results", str(report.parent), "--page", str(page)]
    elif report.parent != ROOT / "benchmarks" / "results":
        return
    subprocess.run(words, timeout=30, check=False)


def main(arguments: list[str] | None = None) -> int:
    """Run the plan; the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dry-run", action="store_true", help="rehearse the plan on the CPU")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FOLDER",
        help="where the report goes (default: benchmarks/results; in a dry run a new folder)",
    )
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    if options.dry_run:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "0")  # one card, also where there are more
    facts = probe()
    if not options.dry_run and "gpu" not in facts:
        why = "this PyTorch is a CPU build" if facts.get("cuda") == "none" else "none is visible"
        print(
            f"gpu: no CUDA device ({why}); nothing was measured. To rehearse on the CPU:"
            " python benchmarks/gpu.py --dry-run",
            file=sys.stderr,
        )
        return 2
    return measure(facts, options.out, rehearsal=options.dry_run)


def measure(facts: Result, out: Path | None, *, rehearsal: bool) -> int:
    """Everything after the card is known; the exit code."""
    name = "rehearsal" if rehearsal else file_name(facts["gpu"])
    folder = Path(tempfile.mkdtemp(prefix="lae-gpu-")) if rehearsal else ROOT / "build" / "gpu"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    out = out or (folder if rehearsal else ROOT / "benchmarks" / "results")
    steps = gpu_steps.plan(folder, facts, rehearsal=rehearsal)
    print(f"{facts.get('gpu', 'rehearsal on the CPU')}, PyTorch {facts.get('torch', '?')}")
    for step in steps:
        print(f"  {step.name:<10}{step.budget:>4.0f} s  {step.what}")
    print(f"  {'together':<10}{sum(step.budget for step in steps):>4.0f} s", flush=True)
    facts.pop("built_for", None)  # before the build
    report = Report(out / f"{name}.json", facts, steps, rehearsal=rehearsal)
    try:
        run_plan(steps, report, folder, lambda line: print(line, flush=True))
    finally:
        report.write()
        write_page(report.path, rehearsal=rehearsal)
        print(f"report: {shown(report.path)}; logs: {shown(folder)}", flush=True)
    unwanted = [name for name, step in report.steps.items() if step["status"] in (FAILED, CUT_OFF)]
    if unwanted:
        print(f"gpu: not passed: {', '.join(unwanted)}", file=sys.stderr)
    return 1 if unwanted else 0


def shown(path: Path) -> Path:
    """A path as short as it can be."""
    return path.relative_to(ROOT) if path.is_relative_to(ROOT) else path


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
    sys.exit(130)
