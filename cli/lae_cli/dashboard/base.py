"""What the application remembers: which runs, which moment, what was asked of whom."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

from textual.app import App
from textual.widget import Widget
from textual.widgets import ContentSwitcher

from lae_cli.dashboard.following.control import Pending
from lae_cli.dashboard.following.frame import Frame
from lae_cli.dashboard.following.replay import Replay
from lae_cli.dashboard.following.watcher import Watcher
from lae_cli.terminal.glyphs import Glyphs

TABS = ("live", "charts", "latents", "pictures", "runs", "compare", "log")


@dataclass(frozen=True)
class Start:
    """How the dashboard is opened."""

    root: Path
    """Folder of run folders."""
    paths: tuple[Path, ...] = ()
    """Runs to open: the first in front, the others marked. The newest when there are none."""
    readonly: bool = False
    ascii_only: bool = False
    theme: str | None = None


class Base(App[None]):
    """The state that views and actions share."""

    def __init__(self, start: Start) -> None:
        super().__init__()
        self.begun = start
        self.ascii_only = start.ascii_only
        self.glyphs = Glyphs(unicode=not start.ascii_only, colour=not self.no_color)
        self.opened: Path | None = start.paths[0] if start.paths else None
        self.marked: tuple[Path, ...] = start.paths[1:]
        self.evaluation: int | None = None
        """The evaluation with a snapshot that is looked at; None is the newest."""
        self.playing = False
        """Whether the evaluations play by themselves."""
        self.replaying: Replay | None = None
        self.pending: Pending | None = None
        self.frames: dict[Path, Frame] = {}
        """The runs on the screen, as of the last look; a draw must not see two looks."""
        elsewhere = tuple(path for path in start.paths if path.parent != start.root)
        self.watcher = Watcher(start.root, elsewhere, self.looked)

    def looked(self) -> None:
        """Called from the watcher's thread when there is something new to draw."""
        raise NotImplementedError

    def draw(self) -> None:
        """Draw the status and the view in front."""
        raise NotImplementedError

    def follow(self) -> None:
        """Tell the watcher which runs are on the screen."""
        opened = (self.opened,) if self.opened else ()
        self.watcher.follow(tuple(dict.fromkeys((*opened, *self.marked))))

    def open_run(self, path: Path) -> None:
        """Show another run."""
        self.opened, self.evaluation, self.replaying, self.playing = path, None, None, False
        self.follow()

    @property
    def frame(self) -> Frame | None:
        """The open run as it is now."""
        return self.frames.get(self.opened) if self.opened else None

    @property
    def shown(self) -> Frame | None:
        """The open run, now or at the moment that a replay has reached."""
        frame = self.frame
        return self.replaying.frame(frame) if frame is not None and self.replaying else frame

    @property
    def all_shown(self) -> list[Frame]:
        """The open run and the marked ones."""
        marked = [self.frames.get(path) for path in self.marked if path != self.opened]
        return [frame for frame in (self.shown, *marked) if frame is not None]

    @property
    def view_name(self) -> str:
        """The tab in front."""
        return self.query_one(ContentSwitcher).current or "live"

    @property
    def view(self) -> View:
        """The view in front."""
        return cast(View, self.query_one(f"#{self.view_name}"))


def board_of(view: Widget) -> Base:
    """The application that a view is part of."""
    return cast(Base, view.app)


class View(Protocol):
    """A tab of the application."""

    def show(self, board: Base) -> None:
        """Draw."""

    def focus_target(self) -> Widget | None:
        """What takes the keys when the view opens."""
