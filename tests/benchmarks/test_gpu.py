"""``make gpu``, rehearsed: whatever a step does, the steps after it run and nothing is lost."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from helpers.command_line import ROOT

pytestmark = pytest.mark.skipif(
    not (ROOT / "benchmarks" / "gpu.py").exists(), reason="no benchmarks here"
)


def load(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def gpu() -> Iterator[Any]:
    """The script, and with it ``gpu_steps`` and ``budget``, which it imports."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        yield load(ROOT / "benchmarks" / "gpu.py")
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))
        for name in ("gpu", "gpu_steps", "budget"):
            sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def tables() -> Any:
    return load(ROOT / "docs" / "scripts" / "performance_tables.py")


ROW = {"variant": "fused", "value": 1e-3, "ratio": None, "over_floor": 1.25, "bytes": 2e9}
GROUP = {"group": "propose_rows, 4096x4096, cuda", "unit": "s", "rows": [ROW]}
Rehearse = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture
def rehearse(gpu: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rehearse:
    """Run a dry run with other steps; its exit code and its report."""

    def run(*steps: Any) -> tuple[int, dict[str, Any]]:
        monkeypatch.setattr(gpu.gpu_steps, "plan", lambda folder, facts, rehearsal: list(steps))
        monkeypatch.setattr(gpu, "probe", lambda: {"torch": "?"})
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # so that what the script sets is undone
        monkeypatch.setattr(gpu.signal, "signal", lambda *args: None)
        monkeypatch.setattr(gpu.tempfile, "mkdtemp", lambda prefix: str(tmp_path / "logs"))
        code = gpu.main(["--dry-run", "--out", str(tmp_path)])
        return code, json.loads((tmp_path / "rehearsal.json").read_text())

    return run


@pytest.fixture
def step(gpu: Any) -> Callable[..., Any]:
    """A step that runs a script of bash."""

    def make(name: str, script: str, budget: float = 20.0, **others: Any) -> Any:
        return gpu.Step(name, "stub", budget, lambda limit: ["bash", "-c", script], **others)

    return make


def is_running(pid: int) -> bool:
    """Whether a process is there that has not ended; one whose end nobody asks after has."""
    listed = ["ps", "-o", "stat=", "-p", str(pid)]
    state = subprocess.run(listed, capture_output=True, text=True, check=False).stdout
    return bool(state.strip()) and not state.startswith("Z")


def test_a_step_that_fails_and_one_that_hangs_lose_nothing(
    gpu: Any,
    rehearse: Rehearse,
    step: Callable[..., Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    tmp_path.joinpath("hung.jsonl").write_text(
        '{"test": "a::one", "began": 0}\n'
        '{"test": "a::one", "outcome": "passed", "message": ""}\n'
        '{"test": "a::two", "began": 1}\n{"test": "a::th'
    )
    hang = f"echo waiting for the device; sleep 300 & echo $! >{tmp_path}/pid; wait"
    code, report = rehearse(
        step("first", "exit 0", 4.0, read=lambda log: {"groups": [GROUP]}),
        step("fails", "echo some words; echo no such kernel; exit 3", 0.0),
        step("hangs", hang, 0.0, read=lambda log: gpu.gpu_steps.counts(tmp_path / "hung.jsonl")),
        step("broken", "exit 0", read=lambda log: json.loads("{")),
        step("absent", "exit 0", missing=lambda: "it is not here"),
        step("declines", "echo no device; exit 2", unavailable=2),
        step("last", "exit 0", read=lambda log: {"passed": 7}),
    )
    steps = report["steps"]
    assert code == 1
    assert {name: found["status"] for name, found in steps.items()} == {
        "first": "passed",
        "fails": "failed",
        "hangs": "cut off",
        "broken": "failed",
        "absent": "not available",
        "declines": "not available",
        "last": "passed",
    }
    assert steps["fails"]["message"] == "no such kernel"
    assert "last line: waiting for the device" in steps["hangs"]["message"]
    assert (steps["hangs"]["passed"], steps["hangs"]["not_ended"]) == (1, ["a::two"])
    assert "cannot be read" in steps["broken"]["message"]
    assert steps["last"]["passed"] == 7
    assert report["groups"] == [GROUP]
    assert "not passed: fails, hangs, broken" in capsys.readouterr().err
    assert not is_running(int(tmp_path.joinpath("pid").read_text()))


def test_the_report_is_on_the_disk_before_each_step(
    rehearse: Rehearse, step: Callable[..., Any], tmp_path: Path
) -> None:
    """So whatever ends the script, a power cut included, loses only the step that was running."""
    code, _ = rehearse(
        step("first", "exit 0", read=lambda log: {"found": 5}),
        step("second", f"cp {tmp_path}/rehearsal.json {tmp_path}/then.json"),
        step("third", "exit 0"),
    )
    then = json.loads((tmp_path / "then.json").read_text())["steps"]
    assert code == 0
    assert then["first"]["found"] == 5
    assert then["second"]["status"] == "running"
    assert then["third"]["status"] == "not reached"


def test_what_a_step_does_not_need_is_left_to_the_next(
    rehearse: Rehearse, step: Callable[..., Any]
) -> None:
    _, report = rehearse(step("quick", "exit 0", 30.0), step("hungry", "exit 0", 10.0))
    assert report["steps"]["quick"]["limit"] == pytest.approx(30, abs=1)
    assert report["steps"]["hungry"]["limit"] == pytest.approx(40, abs=5)


def test_without_a_gpu_one_line_says_so(
    gpu: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gpu, "probe", lambda: {"torch": "2", "cuda": "13.0"})
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # so that what the script sets is undone
    monkeypatch.setattr(gpu.signal, "signal", lambda *args: None)
    monkeypatch.setattr(gpu, "measure", lambda *args, **others: pytest.fail("measured"))
    assert gpu.main([]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert "no CUDA device" in said.err
    assert "nothing was measured" in said.err


@pytest.mark.parametrize("rehearsal", [True, False])
def test_the_plan_fits_in_ten_minutes(gpu: Any, tmp_path: Path, rehearsal: bool) -> None:
    steps = gpu.gpu_steps.plan(tmp_path, {"capability": "9.0"}, rehearsal=rehearsal)
    assert sum(step.budget for step in steps) <= 580
    assert {step.name: step.budget for step in steps} == gpu.gpu_steps.BUDGETS
    assert all(step.command(60.0) for step in steps)


def test_kernels_of_another_card_are_built_anew(gpu: Any, tmp_path: Path) -> None:
    for built, forced in (("['8.0']", True), ("['8.0', '9.0+PTX']", False)):
        facts = {"capability": "9.0", "built_for": built}
        build = gpu.gpu_steps.plan(tmp_path, facts, rehearsal=False)[0]
        assert ("--force" in build.command(60.0)) == forced


def test_a_file_is_named_after_the_card(gpu: Any) -> None:
    assert gpu.file_name("NVIDIA H100 80GB HBM3") == "nvidia-h100-80gb-hbm3"
    assert gpu.file_name("Tesla V100-SXM2-16GB (x)") == "tesla-v100-sxm2-16gb-x"


def test_a_message_names_no_folder_of_this_machine(gpu: Any) -> None:
    assert gpu.tidy(f"{ROOT}/tests/x.py:\n  {Path.home()}/y") == "./tests/x.py: ~/y"


def test_sanitizer_summaries_are_added_up(gpu: Any, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("3 passed\n========= ERROR SUMMARY: 2 errors\n========= ERROR SUMMARY: 1 error")
    assert gpu.gpu_steps.sanitizer_errors(log) == {"errors": 3}
    log.write_text("========= RACECHECK SUMMARY: 4 hazards displayed (4 errors, 0 warnings)\n")
    assert gpu.gpu_steps.sanitizer_errors(log) == {"errors": 4}
    log.write_text("killed before its end")
    assert gpu.gpu_steps.sanitizer_errors(log) == {}


def test_metrics_of_nsight_compute_are_means_over_launches(gpu: Any, tmp_path: Path) -> None:
    heads = ["ID", "Host Name", "Kernel Name", "Section Name", "Metric Name", "Metric Unit"]
    rows = [
        ["0", "h", "void lae::step_kernel<float>(Args)", "", "gpu__time_duration.sum", "ns"],
        ["1", "h", "void lae::step_kernel<float>(Args)", "", "gpu__time_duration.sum", "ns"],
        ["1", "h", "void lae::step_kernel<float>(Args)", "", "sm__cycles", "cycle"],
    ]
    lines = [[*heads, "Metric Value"]]
    lines += [[*row, value] for row, value in zip(rows, ("1,000", "3,000", "9"), strict=True)]
    log = tmp_path / "log"
    quoted = [",".join(f'"{cell}"' for cell in line) for line in lines]
    log.write_text("==PROF== Connected\n" + "\n".join(quoted) + "\n")
    found = gpu.gpu_steps.ncu_kernels(log)
    assert found == [{"kernel": "step_kernel", "launches": 2, "nanoseconds": 2000.0}]
    log.write_text("==ERROR== ERR_NVGPUCTRPERM\n")
    assert gpu.gpu_steps.ncu_kernels(log) == []


CASES = """
import time, pytest
@pytest.mark.parametrize("i", [0, 1])
def test_one(i): assert i == 0, "one is not zero"
@pytest.mark.parametrize("i", [0, 1])
def test_two(i): pass
@pytest.mark.skip(reason="not today")
def test_three(): pass
@pytest.mark.cuda
def test_on_cuda(): pass
def test_waits(): time.sleep(WAIT)
"""


def run_pytest(folder: Path, *words: str, wait: float = 0.0) -> list[str]:
    folder.joinpath("test_cases.py").write_text(CASES.replace("WAIT", str(wait)))
    folder.joinpath("pytest.ini").write_text("[pytest]\nmarkers = cuda\n")
    return [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "benchmarks.budget",
        f"--lines={folder / 'lines'}",
        "-c",
        str(folder / "pytest.ini"),
        *words,
        str(folder / "test_cases.py"),
    ]


def test_lines_tell_how_each_test_ended(gpu: Any, tmp_path: Path) -> None:
    done = subprocess.run(
        run_pytest(tmp_path, "--spread"), cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stdout + done.stderr
    found = gpu.gpu_steps.counts(tmp_path / "lines")
    numbers = {name: found[name] for name in ("passed", "failed", "skipped", "left_out")}
    assert numbers == {"passed": 5, "failed": 1, "skipped": 1, "left_out": 0}
    ((name, why),) = found["failures"].items()
    assert name.endswith("::test_one[1]")
    assert "one is not zero" in why
    begun = [line["test"] for line in gpu.gpu_steps.read_lines(tmp_path / "lines")]
    order = [name.split("::")[1] for name in dict.fromkeys(begun)]
    assert order[:3] == ["test_one[0]", "test_two[0]", "test_three"]
    assert order[-2:] == ["test_one[1]", "test_two[1]"]


def test_tests_without_time_are_left_out_and_a_device_chooses(gpu: Any, tmp_path: Path) -> None:
    for words, expected in (
        (["--until=1"], {"passed": 0, "left_out": 7, "skipped": 0}),
        (["--on=cuda"], {"passed": 1, "left_out": 0, "skipped": 0}),
    ):
        tmp_path.joinpath("lines").unlink(missing_ok=True)
        subprocess.run(run_pytest(tmp_path, *words), cwd=ROOT, capture_output=True, check=True)
        found = gpu.gpu_steps.counts(tmp_path / "lines")
        assert {name: found[name] for name in expected} == expected


def test_a_run_that_is_killed_leaves_its_lines(gpu: Any, tmp_path: Path) -> None:
    words = run_pytest(tmp_path, wait=300.0)
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.DEVNULL) as child:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            found = gpu.gpu_steps.counts(tmp_path / "lines")
            if any("test_waits" in test for test in found.get("not_ended", [])):
                break
            time.sleep(0.1)
        child.kill()
    assert (found["passed"], found["failed"], found["skipped"]) == (4, 1, 1)
    assert [test.split("::")[1] for test in found["not_ended"]] == ["test_waits"]


def test_the_page_holds_the_tables_of_the_cards_that_were_measured(tables: Any) -> None:
    page = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    between = page.split(tables.GPU_BEGIN)[1].split(tables.GPU_END)[0]
    assert between == "\n" + tables.gpu_section(tables.RESULTS)


def test_a_rehearsal_reaches_no_page_of_figures(
    rehearse: Rehearse, step: Callable[..., Any], tables: Any, tmp_path: Path
) -> None:
    rehearse(step("tests", "exit 0", read=lambda log: {"passed": 56, "failures": {"a|b": "no"}}))
    assert tables.gpu_section(tmp_path) == tables.UNMEASURED
    shown = tables.gpu_section(tmp_path, rehearsals=True)
    assert "### Rehearsal on the CPU: no GPU" in shown
    assert "| tests | passed | 0 | 56 passed; failed: a\\|b |" in shown
    assert shown in (tmp_path / "performance.md").read_text()


def test_a_card_without_all_its_figures_has_a_page(tables: Any, tmp_path: Path) -> None:
    report = {
        "machine": {"gpu": "Card"},
        "date": "2000-01-01T00:00:00",
        "commit": "?",
        "rehearsal": False,
        "seconds": 1.0,
        "steps": {
            "tests": {"status": "not reached", "budget": 1},
            "ncu": {
                "status": "passed",
                "seconds": 1.0,
                "kernels": [{"kernel": "step_kernel", "launches": 1, "nanoseconds": 2000.0}],
            },
        },
        "groups": [GROUP],
    }
    tmp_path.joinpath("card.json").write_text(json.dumps(report))
    shown = tables.gpu_section(tmp_path)
    assert "### Card" in shown
    assert "| propose_rows, 4096x4096, cuda | 2000 GB/s | 80 % |" in shown
    assert "| step_kernel | 2 µs |" in shown


@pytest.mark.slow
def test_only_tests_on_a_gpu_are_chosen(tmp_path: Path) -> None:
    words = ["-m", "cuda", "--on=cuda", "--collect-only", "-q", "-p", "benchmarks.budget", "tests"]
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *words]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "test_a_graph_gives_the_bits_of_its_kernels" in listed
    assert "csrc/cuda/test_launches" not in listed
    assert "emulated" not in listed


@pytest.mark.slow
@pytest.mark.timeout(700)
def test_the_rehearsal_passes(tmp_path: Path) -> None:
    command = [sys.executable, "benchmarks/gpu.py", "--dry-run", "--out", str(tmp_path)]
    environ = os.environ | {"OMP_NUM_THREADS": "1", "TMPDIR": str(tmp_path)}
    with (tmp_path / "said").open("w") as said:
        subprocess.run(command, cwd=ROOT, stdout=said, stderr=said, check=True, env=environ)
    report = json.loads((tmp_path / "rehearsal.json").read_text())
    statuses = {name: step["status"] for name, step in report["steps"].items()}
    assert set(statuses.values()) <= {"passed", "not available"}, statuses
    assert report["steps"]["tests"]["passed"] > 0
    assert report["steps"]["training"]["images_per_second"] > 0
    assert len(report["groups"]) == 3
    assert {group["group"].split(", ")[-1] for group in report["groups"]} == {"cpu"}
