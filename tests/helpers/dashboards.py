"""The dashboard without a terminal: its keys are pressed, and its screen is read as text."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from textual.pilot import Pilot

from lae_cli.dashboard.app import Dashboard
from lae_cli.dashboard.base import Start


class ToldDashboard(Dashboard):
    """A dashboard that remembers what it has told its user."""

    def __init__(self, start: Start) -> None:
        super().__init__(start)
        self.said: list[str] = []

    def notify(self, message: str, **options: Any) -> None:
        self.said.append(message)
        super().notify(message, **options)


def dashboard(root: Path, *names: str | Path, **options: Any) -> ToldDashboard:
    """A dashboard that opens these runs, named in the root or by whole paths."""
    return ToldDashboard(Start(root, tuple(root / name for name in names), **options))


@contextlib.asynccontextmanager
async def watching(
    root: Path, *names: str | Path, size: tuple[int, int] = (100, 30), **options: Any
) -> AsyncIterator[tuple[ToldDashboard, Pilot[None]]]:
    """A `dashboard` that runs without a terminal, and what presses its keys."""
    app = dashboard(root, *names, **options)
    async with app.run_test(size=size) as pilot:
        await settle(pilot, app)
        yield app, pilot


async def settle(pilot: Pilot[None], app: Dashboard, *keys: str) -> None:
    """Press keys, wait until the runs on the screen have been read to their ends, and draw them.

    Wait twice, since the first news may be of a look that began before this was called.
    """
    await pilot.press(*keys)
    for _ in range(2):
        before = app.frames
        app.follow()  # wakes the watcher
        for _ in range(3000):
            await pilot.pause(0.01)
            wanted = {path for path in (app.opened, *app.marked) if path is not None}
            frames = [app.frames.get(path) for path in wanted]
            if app.frames is not before and all(f and f.share_read == 1 for f in frames):
                break
        else:
            raise AssertionError("the watcher has nothing to say")
    app.draw()
    await pilot.pause()


def screen_text(app: Dashboard) -> str:
    """What the screen says, line by line."""
    lines = app.screen._compositor.render_strips()
    return "\n".join(strip.text for strip in lines)
