"""Reading and writing the files of a run folder, which is untrusted input.

Part of `lae_fast.runs`, where the public names are.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
import unicodedata
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

CONFIG_FILE = "config.json"
EVENTS_FILE = "events.jsonl"
COMMAND_FILE = "command"
BLOCK = 1 << 20
"""Bytes read at once."""


class RunError(ValueError):
    """A run folder that cannot be made, found or used; one line that says what to do."""


def printable(text: str) -> str:
    """``text`` without control characters, terminal escapes, bidi overrides or lone surrogates."""
    return "".join(c for c in text if unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Zl", "Zp"))


def write_atomically(path: Path, text: str) -> None:
    """Write ``path`` through a temporary file: all or nothing, and on the disk when it returns."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        with open(temporary, "x", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise RunError(f"cannot write {path}: {error.strerror}") from error


@contextlib.contextmanager
def open_regular(path: Path) -> Iterator[IO[bytes] | None]:
    """The file, or None when it is missing, unreadable or not a regular file (a FIFO hangs)."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except (OSError, ValueError):
        yield None
        return
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        yield None
        return
    with open(descriptor, "rb", buffering=0) as file:
        yield file


def read_config(run: Path) -> dict[str, Any]:
    """The settings in ``config.json`` as plain values; {} when there are none to be read."""
    with open_regular(run / CONFIG_FILE) as file:
        try:
            values = json.loads(file.read(BLOCK) or b"null") if file is not None else None
        except (OSError, ValueError, RecursionError):
            return {}
    return values if isinstance(values, dict) else {}
