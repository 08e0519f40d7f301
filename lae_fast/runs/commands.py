"""How a viewer asks something of a trainer: one small file, written and taken atomically.

Part of `lae_fast.runs`, where the public names are.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lae_fast.errors import RunError, printable
from lae_fast.runs.events import CommandTaken
from lae_fast.runs.files import BLOCK, COMMAND_FILE, open_regular, write_atomically
from lae_fast.runs.log import read_ends

COMMANDS = ("pause", "resume", "checkpoint", "stop", "step_size")
STOP_AFTER = ("epoch", "now")


@dataclass(frozen=True)
class Command:
    """What a viewer asks of a trainer: one of `COMMANDS`, with arguments."""

    name: str
    args: Mapping[str, Any]
    time: float
    """Unix time."""


def send_command(run: Path, command: str, **args: Any) -> None:
    """Ask the trainer of ``run`` for something; replaces a command that was not yet taken.

    Args:
        run: the run folder.
        command: one of `COMMANDS`.
        args: of ``stop``: ``after``, one of `STOP_AFTER`; of ``step_size``: ``value``, positive.

    Raises:
        RunError: an unknown command or argument, or a folder that cannot be written.
    """
    if command not in COMMANDS:
        raise RunError(f"unknown command '{printable(command)}'; use {', '.join(COMMANDS)}")
    _check_args(command, args)
    values = {"command": command, "args": args, "time": time.time()}
    write_atomically(run / COMMAND_FILE, json.dumps(values))


def _check_args(command: str, args: Mapping[str, Any]) -> None:
    if args.get("after", "now") not in STOP_AFTER:
        raise RunError(f"stop after {' or '.join(STOP_AFTER)}, not {args['after']!r}")
    if command == "step_size" and not _positive(args.get("value")):
        raise RunError(f"the step size must be a positive number, not {args.get('value')!r}")


def _positive(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and math.isfinite(value) and value > 0


def last_answer(run: Path, command: str) -> CommandTaken | None:
    """The trainer's newest answer to a command, as far as the end of its log shows one."""
    answers = [e for e in read_ends(run) if isinstance(e, CommandTaken) and e.command == command]
    return answers[-1] if answers else None


def take_command(run: Path) -> Command | None:
    """Take the waiting command away, so that only one taker gets it; None when there is none.

    Cheap enough for every iteration: one failing system call when nothing waits. A file that is
    not a command is removed and ignored.
    """
    path = run / COMMAND_FILE
    if not os.path.lexists(path):
        return None
    mine = run / f".{COMMAND_FILE}.{uuid.uuid4().hex[:8]}.taken"
    try:
        os.rename(path, mine)
    except OSError:  # another taker was quicker
        return None
    text = None
    with open_regular(mine) as file:
        text = file.read(BLOCK) if file is not None else None
    with contextlib.suppress(OSError):
        mine.unlink()
    return _parse_command(text or b"")


def _parse_command(text: bytes) -> Command | None:
    try:
        values = json.loads(text)
        name, args, sent = values["command"], values["args"], float(values["time"])
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None
    return Command(name, args, sent) if name in COMMANDS and isinstance(args, dict) else None
