"""Draw docs/images/dashboard-*.svg: every view of the dashboard, exported by itself.

    python docs/scripts/dashboard_pictures.py RUN [OTHER RUN]...

RUN is in front; the others are overlaid on the charts and compared with it.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from lae_cli.dashboard.app import Dashboard
from lae_cli.dashboard.base import TABS, Start

IMAGES = Path(__file__).parents[1] / "images"
SIZE = (120, 34)
KEYS = {"charts": ["y"], "pictures": ["minus"] * 2}
"""What is pressed in a view before its picture is taken."""


async def draw(runs: tuple[Path, ...]) -> None:
    """Open the dashboard without a terminal and save each view."""
    app = Dashboard(Start(runs[0].parent, runs))
    async with app.run_test(size=SIZE) as pilot:
        for place, view in enumerate(TABS):
            await pilot.press(str(place + 1), *KEYS.get(view, []))
            await pilot.pause(5)  # the watcher's next look, and the last repaint
            file = IMAGES / f"dashboard-{view}.svg"
            file.write_text(app.export_screenshot(title=f"lae dash: {view}"), encoding="utf-8")


if __name__ == "__main__":
    asyncio.run(draw(tuple(Path(name).resolve() for name in sys.argv[1:])))
