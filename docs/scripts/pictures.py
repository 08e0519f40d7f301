"""Draw the pictures in docs/images that the program makes itself.

    lae train --name lae --dataset mnist --binarize --epochs 60 --patience 0
    lae train --name vae --model vae --dataset mnist --binarize --epochs 60 --patience 0
    python docs/scripts/pictures.py runs/lae runs/vae

The first run is drawn: samples of its model, the live display of its training as it stood at 90 %
of its events, and every view of the dashboard. The others are overlaid and compared there.
"""

from __future__ import annotations

import asyncio
import io
import re
import sys
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from lae_cli.dashboard.app import Dashboard
from lae_cli.dashboard.base import TABS, Start
from lae_cli.progress.display import Look, picture
from lae_cli.progress.view import RunView
from lae_fast import runs
from lae_fast.analysis import plots
from lae_fast.analysis.explore import sample
from lae_fast.analysis.saved import open_run
from lae_fast.config.settings import from_stored
from lae_fast.runs.events import Evaluated, Event, Progress

IMAGES = Path(__file__).parents[1] / "images"
LIVE, VIEW = (112, 32), (120, 32)
"""Columns and rows of the live display, and of the dashboard with the whole legend of two runs."""
KEYS = {"charts": ["y"], "pictures": ["minus"] * 2}
"""What is pressed in a view before its picture is taken."""


def save(name: str, svg: str) -> None:
    """Write a picture that loads no font from elsewhere, without what makes it needlessly large."""
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)
    svg = svg.replace("Fira Code", "ui-monospace").replace(' shape-rendering="crispEdges"', "")
    svg = re.sub(r' clip-path="url\(#[^)]*-line-\d+\)"', "", svg)
    svg = re.sub(r'<clipPath id="[^"]*-line-\d+">.*?</clipPath>\s*', "", svg, flags=re.DOTALL)
    svg = re.sub(r"terminal-\d+-", "t-", svg)
    (IMAGES / name).write_text(HALF_BLOCKS.sub(_half, svg), encoding="utf-8")


HALF_BLOCKS = re.compile(r'<text class="(\S+)" x="(\S+)" y="(\S+)" textLength="(\S+)">▀+</text>')


def _half(found: re.Match[str]) -> str:
    """Upper halves of character cells as a rectangle, which fonts draw with gaps."""
    name, x, y, width = found.groups()
    top = float(y) - 18.5  # from the line the characters stand on to the top of their cell
    return f'<rect class="{name}" x="{x}" y="{top:g}" width="{width}" height="12.4"/>'


def draw_samples(run: Path) -> None:
    """Images decoded from z ~ N(0, I), not picked."""
    pixels = sample(open_run(run), 48)
    plots.save_rows(IMAGES / "samples.png", [("", line) for line in pixels.split(12)])


def draw_training(run: Path, share: float = 0.9) -> None:
    """What ``lae train`` showed after this share of the run's events."""
    config = from_stored(runs.read_config(run))
    view = RunView(replace(config, run_root=str(run.parent)), clock=lambda: 0.0)
    events: list[Event] = runs.EventReader(run).poll()
    steps = [e for e in events if isinstance(e, Progress | Evaluated)]
    # After an evaluation whose pictures are still there: of a long run only some are kept.
    kept = [
        place
        for place, event in enumerate(steps)
        if isinstance(event, Evaluated) and event.snapshot and (run / event.snapshot).exists()
    ]
    start = next(place for place in kept if place >= share * (len(steps) - 1))
    last = steps[min(start + 5, len(steps) - 1)]
    for event in events[: events.index(last) + 1]:
        view.apply(event)
    console = Console(
        record=True,
        width=LIVE[0],
        height=LIVE[1],
        file=io.StringIO(),
        force_terminal=True,
        color_system="truecolor",
    )
    console.print(picture(view, Look(width=LIVE[0], height=LIVE[1])))
    save("train.svg", console.export_svg(title="lae train"))


async def draw_dashboard(found: tuple[Path, ...]) -> None:
    """Every view, exported by the application itself, without a terminal."""
    app = Dashboard(Start(found[0].parent, found))
    async with app.run_test(size=VIEW) as pilot:
        for place, view in enumerate(TABS):
            if view == "log":  # what a trainer printed, which pictures add nothing to
                continue
            await pilot.press(str(place + 1), *KEYS.get(view, []))
            await pilot.pause(5)  # the watcher's next look, and the last repaint
            save(f"dashboard-{view}.svg", app.export_screenshot(title=f"lae dash: {view}"))


if __name__ == "__main__":
    RUNS = tuple(Path(name).resolve() for name in sys.argv[1:])
    draw_samples(RUNS[0])
    draw_training(RUNS[0])
    asyncio.run(draw_dashboard(RUNS))
