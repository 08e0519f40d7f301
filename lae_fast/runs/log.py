"""The event log of a run: written a whole line at a time, read by byte offset or from its ends.

Part of `lae_fast.runs`, where the public names are.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import IO

from lae_fast.errors import RunError, reason
from lae_fast.runs.events import Evaluated, Event, RunStarted, decode, decode_many, encode
from lae_fast.runs.files import BLOCK, EVENTS_FILE, open_own, open_regular, sync_folder

_LONGEST_LINE = 1 << 20
_HEAD = 128
_LINES_AT_ONCE = 256
_TAIL = 1 << 16
_LOOK_BACK = 16 << 20
_LONGEST_EVENT = 1 << 14


class RunWriter:
    """Appends events to a run's ``events.jsonl``, a whole line at a time; a context manager."""

    def __init__(self, run: Path) -> None:
        self._path = run / EVENTS_FILE
        try:
            self._file = open_own(self._path)
            self._lock()
            sync_folder(run)
            end = self._file.seek(0, os.SEEK_END)
            self._torn = end > 0 and os.pread(self._file.fileno(), 1, end - 1) != b"\n"
        except OSError as error:
            raise RunError(f"cannot write {self._path}: {reason(error)}") from error

    def _lock(self) -> None:
        """Lock the folder for one trainer; the lock goes with the process, however that ends."""
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise RunError(f"{self._path.parent} is being trained by another process") from None

    def append(self, event: Event) -> None:
        """Write one event; readers see it at once. Raises `RunError` when the disk is full."""
        line = encode(event).encode() + b"\n"
        if self._torn:  # a half-written line must not swallow this one
            line = b"\n" + line
        self._torn = True
        try:
            while line:
                line = line[self._file.write(line) :]
        except OSError as error:
            raise RunError(f"cannot write {self._path}: {reason(error)}") from error
        self._torn = False

    def close(self) -> None:
        """Close the file, whose events are on the disk then; a second call does nothing."""
        if not self._file.closed:
            with contextlib.suppress(OSError):
                os.fsync(self._file.fileno())
        self._file.close()

    def __enter__(self) -> RunWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def sync(run: Path) -> None:
    """Wait until the disk has every event that was appended to a run's log.

    Raises:
        RunError: it cannot.
    """
    path = run / EVENTS_FILE
    try:
        with open_own(path) as file:
            os.fsync(file.fileno())
    except OSError as error:
        raise RunError(f"cannot write {path}: {reason(error)}") from error


class EventReader:
    """Follows a run's ``events.jsonl`` by byte offset, as it grows or after the fact.

    A torn last line waits until it is complete. When the file was truncated or replaced, reading
    begins again at the top and ``restarts`` grows by one. ``skipped`` counts complete lines that
    are no events; ``offset`` is the bytes read so far.
    """

    def __init__(self, run: Path) -> None:
        self.skipped = 0
        self.restarts = 0
        self._path = run / EVENTS_FILE
        self.offset = 0
        self._inode: int | None = None
        self._head = b""
        self._in_long_line = False

    def poll(self, limit: int | None = None) -> list[Event]:
        """Events since the last call, from at most ``limit`` lines; [] when there is no file."""
        events: list[Event] = []
        with open_regular(self._path) as file:
            if file is None:
                return events
            self._notice_replacement(file)
            lines = itertools.islice(self.lines(file), limit)
            while some := list(itertools.islice(lines, _LINES_AT_ONCE)):
                decoded = decode_many(some)
                events += [event for event in decoded if event is not None]
                self.skipped += sum(
                    event is None and bool(line.strip())
                    for event, line in zip(decoded, some, strict=True)
                )
        return events

    def rest(self) -> Iterator[Event]:
        """Events up to the end of the file, a part of it at a time."""
        before = -1
        while self.offset != before:
            before = self.offset
            yield from self.poll(limit=10_000)

    def _notice_replacement(self, file: IO[bytes]) -> None:
        facts, head = os.fstat(file.fileno()), os.pread(file.fileno(), _HEAD, 0)
        changed = (
            facts.st_ino != self._inode
            or facts.st_size < self.offset
            or not head.startswith(self._head[: self.offset])
        )
        if changed and self._inode is not None:
            self.restarts += 1
        if changed:
            self.offset, self._in_long_line = 0, False
        self._inode, self._head = facts.st_ino, head

    def lines(self, file: IO[bytes]) -> Iterator[bytes]:
        """Complete lines from the offset on, which moves past each line as it is taken."""
        file.seek(self.offset)
        rest = b""
        while block := file.read(BLOCK):
            *lines, rest = (rest + block).split(b"\n")
            for line in lines:
                self.offset += len(line) + 1
                if self._in_long_line:
                    self._in_long_line = False
                else:
                    yield line
            if len(rest) > _LONGEST_LINE:  # no event is this long: drop it, keep memory bounded
                self.skipped += not self._in_long_line
                self._in_long_line = True
                self.offset += len(rest)
                rest = b""


def evaluations(run: Path) -> list[Evaluated]:
    """The evaluations that count: a resumed run does again what was lost since its last state."""
    found: list[Evaluated] = []
    for event in EventReader(run).rest():
        if isinstance(event, RunStarted):
            found = [past for past in found if past.iteration <= event.iteration]
        elif isinstance(event, Evaluated):
            found.append(event)
    return found


def read_ends(run: Path) -> list[Event]:
    """The first event of a run and those in the last 64 KiB of its log, for a first look."""
    with open_regular(run / EVENTS_FILE) as file:
        if file is None:
            return []
        size = os.fstat(file.fileno()).st_size
        lines = _complete(os.pread(file.fileno(), _TAIL, 0))
        if size > _TAIL:
            lines[1:] = _complete(os.pread(file.fileno(), _TAIL, size - _TAIL))[1:]
        return [event for event in decode_many(lines) if event is not None]
    return []


def _complete(block: bytes) -> list[bytes]:
    return block.split(b"\n")[:-1]


def last_best(run: Path) -> Evaluated | None:
    """The best evaluation so far, looked for from the end in the last 16 MiB of the log."""
    mark = b'"best": true'
    with open_regular(run / EVENTS_FILE) as file:
        end = os.fstat(file.fileno()).st_size if file is not None else 0
        least = max(0, end - _LOOK_BACK)
        rest = b""
        while file is not None and end > least:
            begin = max(least, end - _TAIL)  # viewers ask every second: little memory at a time
            block = os.pread(file.fileno(), end - begin, begin) + rest
            at = block.rfind(mark)
            if at >= 0 and ((start := block.rfind(b"\n", 0, at)) >= 0 or begin == 0):
                event = decode(block[start + 1 :].split(b"\n", 1)[0])
                return event if isinstance(event, Evaluated) else None
            rest, end = block[:_LONGEST_EVENT], begin
    return None
