"""The front door: lazy imports, suggestions, exit codes, one line an error."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import click
import pytest

from helpers.command_line import SOURCES, modules_after, python, run
from helpers.run_folders import NOW, write_run
from lae_cli import exits
from lae_cli.main import COMMANDS, lae
from lae_fast.config import ConfigError
from lae_fast.runs import RunError

HEAVY = {"torch", "rich", "textual", "numpy", "sklearn", "torchvision"}


@pytest.mark.parametrize(
    ("args", "code"),
    [(["--help"], 0), (["--version"], 0), (["trian"], 2), (["completion", "bash"], 0)],
)
def test_nothing_heavy_is_imported(args: list[str], code: int) -> None:
    ended, _, modules = modules_after(*args)
    assert ended == code
    assert not modules & HEAVY


def test_train_help_and_run_list_need_no_torch(tmp_path: Path) -> None:
    for args in (["train", "--help"], ["runs", "ls", "--run-root", str(tmp_path)]):
        code, _, modules = modules_after(*args)
        assert code == 0
        assert "torch" not in modules


def test_help_reads_no_run_folders() -> None:
    code, _, modules = modules_after("--help")
    assert code == 0
    assert not modules & {"lae_fast.runs", "logging"}


def test_help_is_quick() -> None:
    """The aim is 0.3 s, of the processor's time: what else the machine does is not ours."""
    assert min(_seconds("-m", "lae_cli", "--help") for _ in range(3)) < 0.3


def _seconds(*args: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert python(*args).returncode == 0
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_help_lists_verbs_and_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "--help")
    assert code == 0
    for name, text in COMMANDS.items():
        assert name in out
        assert text in out
    for number in exits.MEANINGS:
        assert f"  {number} " in out


@pytest.mark.parametrize("name", COMMANDS)
def test_every_verb_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, name, "--help")
    assert code == 0
    assert "Usage: lae" in out


def test_unknown_verb(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "trian")
    assert (code, out) == (exits.BAD_INPUT, "")
    assert "did you mean 'train'?" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("args", [(), ("runs",)])
def test_no_arguments_show_what_to_type(
    args: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, *args)
    assert (code, err) == (0, "")
    assert "--help" in out
    assert "There are no runs in runs yet." in out
    for number in range(7):
        write_run(tmp_path / "runs", f"run-{number}", began=NOW - 100 * number)
        # A note or a checkpoint may make an older run the one that changed last.
        os.utime(tmp_path / "runs" / f"run-{number}", (NOW + 100 * number,) * 2)
    (tmp_path / "runs" / "not-a-run").mkdir()
    code, out, _ = run(capsys, *args)
    shown = [line.split()[0] for line in out.splitlines() if line.startswith("  run-")]
    assert shown == [f"run-{number}" for number in range(5)]
    assert max(map(len, out.splitlines())) <= 80
    for line in out.splitlines():  # every command it names exists
        if line.startswith("  lae ") and "--help" not in line:
            words = line.split("  ")[1].split()[1:]
            assert words[0] in COMMANDS


def test_the_start_page_needs_no_torch(tmp_path: Path) -> None:
    code, _, modules = modules_after()
    assert code == 0
    assert not modules & HEAVY


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (
            ConfigError("--steps must be\nmore\x1b[31m"),
            exits.BAD_INPUT,
            "--steps must be more\\x1b[31m",
        ),
        (RunError("no run 'x'"), exits.BAD_INPUT, "no run 'x'"),
        (MemoryError(), exits.SYSTEM, "smaller --batch-size"),
        (RuntimeError("[enforce fail] can't allocate memory: 8 bytes"), exits.SYSTEM, "memory"),
        (
            PermissionError(13, "Permission denied", "runs"),
            exits.SYSTEM,
            "cannot use runs: permission denied;",
        ),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), exits.SYSTEM, "memory"),
        (KeyboardInterrupt(), exits.INTERRUPTED, "interrupted"),
        (click.Abort(), exits.INTERRUPTED, "interrupted"),
        (ZeroDivisionError("oops"), exits.INTERNAL, "LAE_DEBUG=1"),
    ],
)
def test_errors_become_one_line(
    error: BaseException,
    code: int,
    text: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(lae, "main", fail)
    monkeypatch.delenv("LAE_DEBUG", raising=False)
    got, out, err = run(capsys)
    assert (got, out) == (code, "")
    assert err.startswith("lae: ")
    assert err.count("\n") == 1
    assert text in err


def test_debug_shows_the_traceback(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(lae, "main", fail)
    monkeypatch.setenv("LAE_DEBUG", "1")
    code, _, err = run(capsys)
    assert code == exits.INTERNAL
    assert "Traceback" in err


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["train", "--help"]])
def test_a_reader_that_went_away_is_told_in_the_exit_code_alone(words: list[str]) -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "lae_cli", *words],
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | SOURCES,
        timeout=60,
        check=False,
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (exits.BROKEN_PIPE, "")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "completion", shell)
    assert code == 0
    assert "_LAE_COMPLETE" in out


def test_completion_offers_flags_and_choices() -> None:
    for words, expected in (
        ("lae tr", "train"),
        ("lae train --lat", "--latent-dim"),
        ("lae train --likelihood ga", "gaussian"),
        ("lae train --dataset mn", "mnist"),
    ):
        environ = {
            "_LAE_COMPLETE": "bash_complete",
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split()) - 1),
        }
        assert expected in python("-m", "lae_cli", **environ).stdout


def test_doctor_reports_and_survives_breakage(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import json

    from lae_cli.health import checks

    def broken() -> checks.Check:
        raise OSError("no\nsuch \x1b[31m thing")

    monkeypatch.setattr(checks, "check_kernel", broken)
    monkeypatch.setattr(checks, "check_cuda_kernel", broken)
    code, out, _ = run(capsys, "doctor", "--json")
    report = json.loads(out)
    assert code == exits.FAILED
    assert report["ok"] is False
    found = {check["name"]: check for check in report["checks"]}
    assert found["python"]["level"] == "ok"
    assert found["kernel"]["level"] == "fail"
    assert found["kernel"]["remedy"]
    code, out, _ = run(capsys, "doctor")
    assert "FAIL" in out
    assert "\x1b" not in out
