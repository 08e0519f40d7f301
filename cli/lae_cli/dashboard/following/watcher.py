"""The one thread that reads run folders: it makes frames, the application draws them."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lae_cli.dashboard.following.frame import Follower, Frame
from lae_fast import runs
from lae_fast.runs import health

POLL = 1.0
"""Seconds between two looks at the runs on the screen."""
SCAN = 2.0
"""Seconds between two looks at all the others."""


@dataclass(frozen=True)
class _Known:
    """What a run folder said when it was last looked into."""

    mark: tuple[int, ...]
    summary: runs.Summary
    seen: float

    def is_due(self, now: float) -> bool:
        """Whether silence alone may have changed it: a trainer may be gone without a word."""
        return self.summary.active and health.SILENT.beyond(now - self.seen)


class Watcher(threading.Thread):
    """Follows the runs it is told to and lists all there are.

    Args:
        root: folder of run folders.
        extra: run folders elsewhere.
        looked: called from this thread when there is something new to draw.

    Attributes:
        frames: the runs on the screen. A look replaces it and changes none that was given out.
        summaries: all runs, newest first; likewise.
        problem: why the runs cannot be listed, or None.
    """

    def __init__(self, root: Path, extra: tuple[Path, ...], looked: Callable[[], None]) -> None:
        super().__init__(name="watcher", daemon=True)
        self.frames: dict[Path, Frame] = {}
        self.summaries: tuple[runs.Summary, ...] = ()
        self.problem: str | None = None
        self._root, self._extra, self._looked = root, extra, looked
        self._wanted: tuple[Path, ...] = ()
        self._followers: dict[Path, Follower] = {}
        self._known: dict[Path, _Known] = {}
        self._scanned = 0.0
        self._wake, self._ended = threading.Event(), threading.Event()

    def follow(self, paths: tuple[Path, ...]) -> None:
        """Say which runs are on the screen."""
        self._wanted = paths
        self._wake.set()

    def stop(self) -> None:
        """End the thread soon."""
        self._ended.set()
        self._wake.set()

    def run(self) -> None:
        """Look, say so, wait; until stopped."""
        while not self._ended.is_set():
            self.look()
            self._looked()
            complete = all(follower.complete for follower in self._followers.values())
            self._wake.wait(POLL if complete else 0.01)
            self._wake.clear()

    def look(self) -> None:
        """One look at everything that is due."""
        wanted, now = self._wanted, time.time()
        opened = any(path not in self._followers for path in wanted)
        self._followers = {path: self._followers.get(path) or Follower(path) for path in wanted}
        for follower in self._followers.values():
            follower.poll()
        if opened or now - self._scanned >= SCAN:
            self._scan(now)
            self._scanned = now
        self.frames = {path: follower.frame() for path, follower in self._followers.items()}

    def _scan(self, now: float) -> None:
        try:
            paths = [*runs.folders(self._root), *self._extra]
            self.problem = None
        except runs.RunError as error:
            paths, self.problem = [*self._extra], str(error)
        known = {}
        for path in paths:
            if path in self._followers:
                continue
            mark, before = _mark(path), self._known.get(path)
            if before is None or before.mark != mark or before.is_due(now):
                before = _Known(mark, runs.summarise(path, now=now, quick=True), now)
            known[path] = before
        self._known = known
        summaries = [follower.summary(now) for follower in self._followers.values()]
        summaries += [entry.summary for entry in known.values()]
        summaries.sort(key=lambda summary: (summary.started or 0.0, summary.name), reverse=True)
        self.summaries = tuple(summaries)


def _mark(path: Path) -> tuple[int, ...]:
    """Changes whenever the log does."""
    try:
        facts = os.stat(path / runs.EVENTS_FILE)
    except OSError:
        return ()
    return facts.st_ino, facts.st_size, facts.st_mtime_ns
