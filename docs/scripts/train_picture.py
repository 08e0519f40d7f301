"""Draw docs/images/train.svg: what ``lae train`` shows, from the events of a run.

    python docs/scripts/train_picture.py RUN [SHARE]

SHARE of the run's events are shown, by default 0.9: the picture of a training under way.
"""

from __future__ import annotations

import io
import sys
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from lae_cli.progress.display import Look, picture
from lae_cli.progress.view import RunView
from lae_fast import runs
from lae_fast.runs.events import Evaluated, Event, Progress
from lae_fast.settings import from_dict

WIDTH, HEIGHT = 120, 36


class Replayed(RunView):
    """A view whose clock stands at the last event."""

    @property
    def elapsed(self) -> float:
        """Seconds of training at the last event."""
        return self.progress.elapsed if self.progress else 0.0

    @property
    def eta(self) -> float | None:
        """Seconds left at the last event."""
        return self.progress.eta if self.progress else None


def main(run: Path, share: float = 0.9) -> None:
    """Write the picture beside this file."""
    config = from_dict(runs.read_config(run))
    view = Replayed(replace(config, run_root=str(run.parent)))
    events: list[Event] = runs.EventReader(run).poll()
    steps = [e for e in events if isinstance(e, Progress | Evaluated)]
    last = steps[int(share * (len(steps) - 1))]
    for event in events[: events.index(last) + 1]:
        view.apply(event)
    console = Console(
        record=True, width=WIDTH, height=HEIGHT, file=io.StringIO(), color_system="truecolor",
        force_terminal=True,
    )  # fmt: skip
    console.print(picture(view, Look(WIDTH, HEIGHT)))
    svg = console.export_svg(title="lae train")
    (Path(__file__).parents[1] / "images" / "train.svg").write_text(svg, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(float, sys.argv[2:]))
