"""Asking a trainer for something, and knowing when it has answered."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lae_cli.dashboard.following.frame import Frame
from lae_fast import runs
from lae_fast.runs.events import CommandTaken

PATIENCE = 10.0
"""Seconds after which an unanswered command is worth a remark."""


@dataclass(frozen=True)
class Pending:
    """A command on its way."""

    run: Path
    command: str
    sent: float
    """Unix time."""

    def answer(self, frame: Frame) -> CommandTaken | None:
        """The trainer's answer, once it is there."""
        for note in reversed(frame.notes):
            if isinstance(note, CommandTaken) and note.command == self.command:
                return note if note.time >= self.sent - 1e-3 else None
        return None

    def words(self, now: float) -> str:
        """One phrase for the status line."""
        waited = now - self.sent
        late = ": no answer yet" if waited > PATIENCE else ""
        return f"{self.command.replace('_', ' ')} asked {waited:.0f} s ago{late}"


def ask(run: Path, command: str, **args: Any) -> Pending:
    """Leave a command in a run folder. Raises `lae_fast.runs.RunError`."""
    sent = time.time()
    runs.send_command(run, command, **args)
    return Pending(run, command, sent)


def step_size_of(text: str) -> float | None:
    """A step size as it was typed; None when it is not a positive number."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and value > 0 else None
