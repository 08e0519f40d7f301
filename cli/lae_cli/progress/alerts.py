"""Alerts of a training: a command that is run, and an address that is told, when something happens.

The trainer does not wait for them, and nothing that goes wrong with them ends it.
"""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import threading
import urllib.request
from collections.abc import Callable
from typing import Any

from lae_cli.terminal import vocabulary
from lae_fast import __version__
from lae_fast.errors import reason
from lae_fast.runs import health
from lae_fast.runs.events import Evaluated, Event, Message, RunFinished, RunStarted

EVENTS = ("diverged", "stuck", "failed", "crashed", "finished", "better")
LONGEST = 30.0
"""Seconds that an alert may take; the end of the training waits that long for the last ones."""
_TROUBLE = (OSError, ValueError, http.client.HTTPException, subprocess.SubprocessError)
_WARNINGS = {health.DIVERGING.name: "diverged", health.STUCK.name: "stuck"}


class Alerts:
    """Listens to the events of a run, and tells of each kind of `EVENTS` once.

    A training that gave up, because it diverged or lost a rank, has failed; one that ended by any
    other error has crashed.

    Args:
        command: a command line for the shell; ``LAE_EVENT``, ``LAE_RUN``, ``LAE_STATUS``,
            ``LAE_TEXT`` and ``LAE_VAL_LOSS`` say what happened.
        webhook: an address that gets the same as JSON, by POST.
        better_than: a validation loss; the first one below it is an event.
        say: receives a line when an alert cannot be given.
    """

    def __init__(
        self,
        command: str | None,
        webhook: str | None,
        better_than: float | None,
        say: Callable[[str], None],
    ) -> None:
        self._command, self._webhook, self._better_than = command, webhook, better_than
        self._say = say
        self._run, self._loss, self._ended, self._error = "", None, False, ""
        self._told: set[tuple[str, str]] = set()
        self._threads: list[threading.Thread] = []

    _loss: float | None

    def __call__(self, event: Event) -> None:
        """Take in one event."""
        match event:
            case RunStarted():
                self._run = event.run
            case Evaluated():
                self._loss = event.val_loss
                limit = self._better_than
                if limit is not None and event.val_loss < limit:
                    loss = f"{vocabulary.loss(event.val_loss)} {vocabulary.LOSS_UNIT}"
                    self._tell("better", "running", f"val loss {loss} in epoch {event.epoch}")
            case Message(level="warning"):
                kind = _WARNINGS.get(event.text.partition(":")[0])
                if kind is not None:
                    self._tell(kind, "running", event.text)
            case Message(level="error"):
                self._error = event.text
            case RunFinished():
                self._ended, self._loss = True, event.val_loss
                text = f"{event.status} after {event.epochs} epochs"
                if event.status == "failed":
                    self._tell("failed", event.status, self._error or text)
                else:
                    self._tell("finished", event.status, text)

    def close(self, error: BaseException | None = None) -> None:
        """Tell of a crash if ``error`` was one, and wait for the alerts that are under way."""
        if isinstance(error, Exception) and self._run and not self._ended:
            self._tell("crashed", "crashed", f"{type(error).__name__}: {error}")
        for thread in self._threads:
            thread.join(LONGEST)

    def _tell(self, kind: str, status: str, text: str) -> None:
        if (kind, status) in self._told:
            return
        self._told.add((kind, status))
        values = {
            "event": kind,
            "run": self._run,
            "status": status,
            "text": text,
            "val_loss": self._loss if self._loss is not None and self._loss == self._loss else None,
        }
        for ask, what in ((_run, self._command), (_post, self._webhook)):
            if what is not None:
                thread = threading.Thread(target=self._give, args=(ask, what, values), daemon=True)
                thread.start()
                self._threads.append(thread)

    def _give(
        self, ask: Callable[[str, dict[str, Any]], None], what: str, values: dict[str, Any]
    ) -> None:
        try:
            ask(what, values)
        except _TROUBLE as error:
            option = "--on-event" if ask is _run else "--webhook"
            self._say(f"warning: the alert '{values['event']}' of {option} failed: {reason(error)}")


def _run(command: str, values: dict[str, Any]) -> None:
    told = {f"LAE_{key.upper()}": "" if v is None else str(v) for key, v in values.items()}
    done = subprocess.run(
        command,
        shell=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | told,
        timeout=LONGEST,
        check=False,
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [""])[-1]
        raise ValueError(f"exit code {done.returncode} {last}".strip())


def _post(address: str, values: dict[str, Any]) -> None:
    # Slack shows "text", Discord "content".
    said = f"{values['run']}: {values['event']}, {values['text']}"
    body = json.dumps(values | {"text": said, "content": said}, allow_nan=False).encode()
    # Discord refuses the name that urllib gives itself.
    headers = {"Content-Type": "application/json", "User-Agent": f"lae-fast/{__version__}"}
    request = urllib.request.Request(address, data=body, headers=headers, method="POST")
    with urllib.request.urlopen(request, timeout=LONGEST):
        pass
