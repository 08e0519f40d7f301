"""Ctrl-C and SIGTERM: first a request to stop after the iteration, then an abort."""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType
from typing import Any

from lae_cli import exits

_EXIT_CODES = {
    signal.SIGINT: exits.INTERRUPTED,
    signal.SIGTERM: exits.TERMINATED,
    signal.SIGHUP: exits.HANGUP,
}


class Interrupts:
    """While entered, signals call ``request("interrupted")``; the same one again raises.

    A different one does not: torchrun answers Ctrl-C with a SIGTERM of its own.

    ``exit_code`` is that of the first signal, or 0. Handlers only set flags: printing from one can
    deadlock on the lock of the stream that it interrupted.
    """

    def __init__(self, request: Callable[[str], None], note: Callable[[str], None]) -> None:
        self.exit_code = exits.OK
        self._request, self._note = request, note
        self._before: dict[signal.Signals, Any] = {}

    def _handle(self, number: int, frame: FrameType | None) -> None:
        code = _EXIT_CODES[signal.Signals(number)]
        if self.exit_code == code:
            raise KeyboardInterrupt
        if self.exit_code != exits.OK:
            return
        self.exit_code = code
        self._request("interrupted")
        self._note(
            "Stopping after this iteration; weights will be saved. Press Ctrl-C again to abort."
        )

    def __enter__(self) -> Interrupts:
        for number in _EXIT_CODES:
            before = signal.getsignal(number)
            if number == signal.SIGHUP and before == signal.SIG_IGN:  # under nohup
                continue
            self._before[number] = before
            signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before if before is not None else signal.SIG_DFL)
