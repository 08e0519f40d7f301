"""Carries out the commands that viewers write into the run folder, and answers them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from lae_fast import runs
from lae_fast.runs.events import CommandTaken, Event, Heartbeat
from lae_fast.train.best import Keeper
from lae_fast.train.trainers.step_size import StepSizeControl

POLL = 0.1
"""Seconds between two looks at the command file while paused."""
HEARTBEAT = 1.0


class CommandTaker:
    """Reads the command file after every iteration.

    Attributes:
        stop_now, stop_after_epoch: what a ``stop`` asked for.
        save_now: whether a ``checkpoint`` asked for the state to be written.
    """

    def __init__(self, run: Path, keeper: Keeper, control: StepSizeControl) -> None:
        self.run, self.keeper, self.control = run, keeper, control
        self.paused = False
        self.stop_now = False
        self.stop_after_epoch = False
        self.save_now = False

    def poll(self, interrupted: Callable[[], bool]) -> Iterator[Event]:
        """Answer the waiting command, if any; while paused, stay here and send heartbeats.

        ``interrupted`` says whether Ctrl-C was pressed, which ends a pause.
        """
        yield from self._take()
        beat = -math.inf
        while self.paused and not self.stop_now and not interrupted():
            if time.monotonic() - beat >= HEARTBEAT:
                beat = time.monotonic()
                yield Heartbeat(time=time.time(), state="paused")
            time.sleep(POLL)
            yield from self._take()

    def _take(self) -> Iterator[Event]:
        command = runs.take_command(self.run)
        if command is not None:
            accepted, text = self._carry_out(command)
            yield CommandTaken(time=time.time(), command=command.name, accepted=accepted, text=text)

    def _carry_out(self, command: runs.Command) -> tuple[bool, str]:
        match command.name:
            case "pause":
                self.paused = True
                return True, "paused"
            case "resume":
                self.paused = False
                return True, "resumed"
            case "checkpoint":
                self.keeper.flush()
                self.save_now = True
                return True, "weights and state written"
            case "stop" if command.args.get("after") == "epoch":
                self.paused, self.stop_after_epoch = False, True
                return True, "stopping after this epoch"
            case "stop":
                self.stop_now = True
                return True, "stopping now"
            case "step_size":
                return self._set_step_size(command.args.get("value"))
        known = "pause, resume, checkpoint, stop and step_size"
        return False, f"unknown command '{command.name}'; known are {known}"

    def _set_step_size(self, value: object) -> tuple[bool, str]:
        if not isinstance(value, (int, float)) or not (math.isfinite(value) and value > 0):
            return False, "the step size must be a positive number"
        self.control.fix(float(value))
        return True, f"step size fixed at {value:.3g}"
