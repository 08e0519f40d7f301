"""What a user notes about a run, and which runs an expression picks.

Part of `lae_fast.runs`, where the public names are.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import operator
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lae_fast.errors import RunError, did_you_mean, printable
from lae_fast.runs.files import open_regular, write_atomically
from lae_fast.runs.summary import Summary, is_run

NOTE_FILE = "note.txt"
LONGEST_NOTE = 1 << 16
"""Bytes."""


def read_note(run: Path) -> str:
    """What is noted about a run; empty if nothing is."""
    content = b""  # an error of the disk ends the block below
    with open_regular(run / NOTE_FILE) as file:
        content = file.read(LONGEST_NOTE) if file is not None else b""
    return content.decode("utf-8", errors="replace").strip()


def write_note(run: Path, text: str) -> None:
    """Note something about a run, in place of what was noted before; nothing if it is empty.

    Raises:
        RunError: the folder is no run or cannot be written, or the note is too long.
    """
    if not is_run(run):
        raise RunError(f"{printable(str(run))} is not a run folder; nothing was noted")
    text = text.encode(errors="replace").decode()  # bytes of a command line that are no UTF-8
    if len(text.encode()) > LONGEST_NOTE:
        raise RunError(f"a note has at most {LONGEST_NOTE >> 10} KiB")
    if text.strip():
        write_atomically(run / NOTE_FILE, text.strip() + "\n")
    else:
        with contextlib.suppress(FileNotFoundError):
            (run / NOTE_FILE).unlink()


_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "!=": operator.ne,
    "=": operator.eq,
    "<": operator.lt,
    ">": operator.gt,
}
_CONDITION = re.compile(r"\s*([a-z_]+)\s*(<=|>=|!=|=|<|>)\s*(.*?)\s*")
_SPAN = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(s|min|h|d)")
_SECONDS = {"s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_FIELDS = {
    field.name: str(field.type).removesuffix(" | None")
    for field in dataclasses.fields(Summary)
    if field.name not in ("path", "started", "last_event", "skipped")
} | {"age": "age"}
CONDITION_FIELDS = tuple(_FIELDS)
"""What a condition can be about."""


def condition(text: str) -> Callable[[Summary], bool]:
    """Whether a run fulfils a condition such as ``status=crashed``, ``epochs<2`` or ``age>7d``.

    Text and truth values are compared by = and !=. A run that does not have the figure fulfils
    nothing.

    Raises:
        RunError: it cannot be understood.
    """
    match = _CONDITION.fullmatch(text)
    if match is None:
        raise RunError(f"cannot read the condition {printable(text)!r}; write, say, 'epochs<2'")
    name, sign, wanted = match.groups()
    if name not in _FIELDS:
        raise RunError(f"no figure {name!r} of a run; {did_you_mean(name, _FIELDS)}")
    value = _value(name, sign, wanted)
    compare = _OPERATORS[sign]

    def holds(summary: Summary) -> bool:
        own = _age(summary) if name == "age" else getattr(summary, name)
        known = own is not None and not (isinstance(own, float) and math.isnan(own))
        return known and compare(own, value)

    return holds


def matching(runs: Sequence[Summary], conditions: Sequence[str]) -> list[Summary]:
    """The runs that fulfil every condition; folders that are no runs never do."""
    tests = [condition(text) for text in conditions]
    return [s for s in runs if s.status != "not a run" and all(test(s) for test in tests)]


def _age(summary: Summary) -> float | None:
    return None if summary.started is None else time.time() - summary.started


def _value(name: str, sign: str, text: str) -> Any:
    """What a figure is compared with."""
    kind = _FIELDS[name]
    if kind == "age":
        span = _SPAN.fullmatch(text)
        if span is None:
            raise RunError(f"an age is a number of s, min, h or d, such as 7d, not {text!r}")
        return float(span[1]) * _SECONDS[span[2]]
    if kind in ("int", "float"):
        try:
            return float(text)
        except ValueError:
            raise RunError(f"{name} is a number, not {printable(text)!r}") from None
    if sign not in ("=", "!="):
        raise RunError(f"{name} is no number; compare it by = or !=")
    if kind == "bool":
        if text not in ("yes", "no", "true", "false"):
            raise RunError(f"{name} is yes or no, not {printable(text)!r}")
        return text in ("yes", "true")
    return text
