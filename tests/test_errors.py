"""Errors: one home for all classes, messages of one printable line, one way to suggest a name."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import pytest

import lae_fast
from lae_cli import exits
from lae_fast import errors

SOURCES = sorted(Path(lae_fast.__file__).parent.rglob("*.py"))
HOME = Path(errors.__file__)
CLASSES = [
    kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, Exception)
]


def test_every_error_of_the_library_lives_in_one_module() -> None:
    elsewhere = [
        f"{path.name}: {node.name}"
        for path in SOURCES
        if path != HOME
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef)
        and any(ast.unparse(base).endswith(("Error", "Exception")) for base in node.bases)
    ]
    assert elsewhere == []


def test_names_are_suggested_in_one_place() -> None:
    searching = [path.name for path in SOURCES if "difflib" in path.read_text(encoding="utf-8")]
    assert searching == [HOME.name]


@pytest.mark.parametrize("kind", CLASSES)
def test_every_error_has_an_exit_code(kind: type[Exception]) -> None:
    code, line = exits.explain(kind("what was wrong"))
    if kind is errors.NotTrainedError:  # the lab catches it
        assert code == exits.INTERNAL
    else:
        assert (code, line) == (
            exits.BAD_INPUT if issubclass(kind, ValueError) else exits.FAILED,
            "what was wrong",
        )


def test_the_machine_is_to_blame_for_a_full_disk() -> None:
    error = errors.RunError("cannot write runs/x")
    error.__cause__ = OSError(28, "No space left on device")
    assert exits.explain(error)[0] == exits.SYSTEM
    error.__cause__ = OSError(13, "Permission denied")
    assert exits.explain(error)[0] == exits.BAD_INPUT


def test_messages_are_one_printable_line() -> None:
    hostile = "a\x1b[31m\n\u202eb\ud800 " + "x" * 5000
    message = str(errors.RunError(hostile))
    assert message.startswith("a\\x1b[31m \\u202eb\\ud800 xxx")
    assert message.isprintable()
    assert len(message) <= errors.LONGEST


def test_printable_spells_out_what_a_terminal_would_obey() -> None:
    hostile = "ok\x1b[31m\x07\x9b\u202e\u2028\ud800\n[bold]é"
    assert errors.printable(hostile) == r"ok\x1b[31m\x07\x9b\u202e\u2028\ud800\n[bold]é"
    errors.printable(hostile).encode()


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (FileNotFoundError(2, "No such file or directory", "x"), "no such file or directory"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"), "it is not UTF-8 text"),
        (RecursionError("maximum recursion depth exceeded"), "it is nested too deeply"),
        (KeyError("format"), "it lacks 'format'"),
        (MemoryError(), "out of memory"),
        (ValueError("Invalid value (at line 1, column 9)"), "invalid value (at line 1, column 9)"),
    ],
)
def test_reasons_are_words(error: Exception, text: str) -> None:
    assert errors.reason(error) == text


def test_suggestions() -> None:
    known = ["steps", "latest", "LAE"]
    assert errors.did_you_mean("stepz", known) == "did you mean 'steps'?"
    assert errors.did_you_mean("LATES", known) == "did you mean 'latest'?"
    assert errors.did_you_mean("lea", known) == "did you mean 'LAE'?"
    assert errors.did_you_mean("qqq", known) == "there are steps, latest, LAE"
    assert errors.did_you_mean("qqq", known, "look there") == "look there"
    assert errors.closest("steps-of", known, cutoff=0.9) is None
