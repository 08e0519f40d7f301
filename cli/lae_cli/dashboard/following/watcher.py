"""The one thread that reads run folders: it posts frozen frames, widgets only draw."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lae_cli.dashboard.following.story import Frame, Story
from lae_fast import runs

POLL = 1.0
"""Seconds between two looks at the runs on the screen."""
SCAN = 2.0
"""Seconds between two looks at all the others."""


@dataclass(frozen=True)
class News:
    """What there is to draw."""

    frames: dict[Path, Frame]
    """The runs on the screen."""
    summaries: tuple[runs.Summary, ...]
    """All runs, newest first."""
    problem: str | None = None


@dataclass(frozen=True)
class _Known:
    """What a run folder said when it was last looked into."""

    mark: tuple[int, ...]
    summary: runs.Summary
    seen: float

    def is_due(self, now: float, shown: bool) -> bool:
        """Whether silence alone may have changed it: a trainer may be gone without a word."""
        patience = 0.0 if shown else runs.SILENT_AFTER
        return self.summary.active and now - self.seen >= patience


class Watcher(threading.Thread):
    """Follows the runs it is told to and lists all there are.

    Args:
        root: folder of run folders.
        extra: run folders elsewhere.
        post: takes `News`, from this thread.
    """

    def __init__(self, root: Path, extra: tuple[Path, ...], post: Callable[[News], None]) -> None:
        super().__init__(name="watcher", daemon=True)
        self._root, self._extra, self._post = root, extra, post
        self._wanted: tuple[Path, ...] = ()
        self._stories: dict[Path, Story] = {}
        self._known: dict[Path, _Known] = {}
        self._problem: str | None = None
        self._scanned = 0.0
        self._wake, self._stop = threading.Event(), threading.Event()

    def follow(self, paths: tuple[Path, ...]) -> None:
        """Say which runs are on the screen."""
        self._wanted = paths
        self._wake.set()

    def stop(self) -> None:
        """End the thread soon."""
        self._stop.set()
        self._wake.set()

    def run(self) -> None:
        """Look, post, wait; until stopped."""
        while not self._stop.is_set():
            self._post(self.look())
            complete = all(story.complete for story in self._stories.values())
            self._wake.wait(POLL if complete else 0.01)
            self._wake.clear()

    def look(self) -> News:
        """One look at everything that is due."""
        wanted, now = self._wanted, time.time()
        self._stories = {path: self._stories.get(path) or Story(path) for path in wanted}
        for story in self._stories.values():
            story.poll()
        if now - self._scanned >= SCAN or any(path not in self._known for path in wanted):
            self._scan(now)
            self._scanned = now
        frames = {
            path: story.frame(self._known[path].summary) for path, story in self._stories.items()
        }
        newest = sorted(
            (known.summary for known in self._known.values()),
            key=lambda summary: (summary.started or 0.0, summary.name),
            reverse=True,
        )
        return News(frames, tuple(newest), self._problem)

    def _scan(self, now: float) -> None:
        try:
            paths = [*runs.folders(self._root), *self._extra]
            self._problem = None
        except runs.RunError as error:
            paths, self._problem = [*self._extra], str(error)
        known = {}
        for path in dict.fromkeys([*paths, *self._wanted]):
            mark = _mark(path)
            before = self._known.get(path)
            if before is None or before.mark != mark or before.is_due(now, path in self._wanted):
                before = _Known(mark, runs.summarise(path, now=now, quick=True), now)
            known[path] = before
        self._known = known


def _mark(path: Path) -> tuple[int, ...]:
    """Changes whenever the log does."""
    try:
        facts = os.stat(path / runs.EVENTS_FILE)
    except OSError:
        return ()
    return facts.st_ino, facts.st_size, facts.st_mtime_ns
