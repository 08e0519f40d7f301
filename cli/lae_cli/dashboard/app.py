"""The application: tabs over the runs of a folder, kept up to date by the watcher."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from functools import partial
from typing import ClassVar

from rich.cells import cached_cell_len
from textual import on
from textual.app import ComposeResult, SystemCommand
from textual.binding import Binding, BindingType
from textual.css.query import NoMatches
from textual.filter import LineFilter
from textual.message import Message
from textual.screen import Screen
from textual.widgets import ContentSwitcher, Footer, Static, Tab, Tabs

from lae_cli.dashboard.actions import CONTROLS, REPLAY_TICK, Actions
from lae_cli.dashboard.base import TABS, Start
from lae_cli.dashboard.filters import AsciiFilter, StyleFilter
from lae_cli.dashboard.views.charts_view import ChartsView
from lae_cli.dashboard.views.compare_view import CompareView
from lae_cli.dashboard.views.latents_view import LatentsView
from lae_cli.dashboard.views.live_view import LiveView
from lae_cli.dashboard.views.log_view import LogView
from lae_cli.dashboard.views.pictures_view import PicturesView
from lae_cli.dashboard.views.run_text import status_line
from lae_cli.dashboard.views.runs_view import RunsView

FORGET = 30.0
"""Seconds. Rich remembers the widths of the last 4,096 lines, which here never come again."""


class Dashboard(Actions):
    """Watches run folders; see `Start`."""

    TITLE = "lae"
    CSS = """
    Tabs { height: 1; width: 1fr; }
    Tabs Underline { display: none; }
    Tabs #tabs-list-bar { height: 1; }
    Tabs Tab { padding: 0 1; height: 1; }
    Tabs Tab.-active { text-style: bold reverse; }
    #status { height: 1; padding: 0 1; background: $surface; }
    ContentSwitcher { height: 1fr; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("question_mark", "help", "Help", key_display="?"),
        *(
            Binding(str(place + 1), f"view('{name}')", name.capitalize(), show=False)
            for place, name in enumerate(TABS)
        ),
        Binding("p", "pause", "Pause"),
        Binding("k", "checkpoint", "Checkpoint", show=False),
        Binding("x", "stop('epoch')", "Stop"),
        Binding("X", "stop('now')", "Stop now", show=False),
        Binding("z", "step_size", "Step size", show=False),
        Binding("R", "replay", "Replay"),
        Binding("space", "play", "Play", show=False),
        Binding("less_than_sign", "speed(-1)", "Slower", show=False),
        Binding("greater_than_sign", "speed(1)", "Faster", show=False),
        Binding("left_square_bracket", "scrub(-1)", "Back", show=False),
        Binding("right_square_bracket", "scrub(1)", "Forward", show=False),
        Binding("left_curly_bracket", "scrub_to(0)", "First", show=False),
        Binding("right_curly_bracket", "scrub_to(-1)", "Newest", show=False),
        Binding("n", "other_run(1)", "Next run", show=False),
        Binding("b", "other_run(-1)", "Run before", show=False),
        Binding("e", "export", "Export"),
        Binding("q", "quit", "Close"),
    ]

    class Looked(Message):
        """The watcher has looked at the runs."""

        def can_replace(self, message: Message) -> bool:
            """A flood collapses into one."""
            return isinstance(message, Dashboard.Looked)

    def __init__(self, start: Start) -> None:
        super().__init__(start)
        self._ascii = AsciiFilter(enabled=start.ascii_only)
        if start.theme is not None:
            self.theme = start.theme

    def compose(self) -> ComposeResult:
        """Tabs, status, view, keys."""
        names = [f"{place + 1} {name.capitalize()}" for place, name in enumerate(TABS)]
        yield Tabs(*(Tab(name, id=tab) for name, tab in zip(names, TABS, strict=True)))
        yield Static(id="status", markup=False)
        with ContentSwitcher(initial="live", id="views"):
            yield LiveView(id="live")
            yield ChartsView(id="charts")
            yield LatentsView(id="latents")
            yield PicturesView(id="pictures")
            yield RunsView(id="runs")
            yield CompareView(id="compare")
            yield LogView(id="log")
        yield Footer(compact=True)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Offer no key that a read-only dashboard would refuse."""
        return not (self.begun.readonly and action in CONTROLS)

    def get_line_filters(self) -> Sequence[LineFilter]:
        """Textual's own, and ours where the terminal has ASCII only."""
        first = [StyleFilter()] if self.no_color else []
        last = [self._ascii] if self._ascii.enabled else []
        return [*first, *super().get_line_filters(), *last]

    def on_mount(self) -> None:
        """Start to watch."""
        self.query_one(Tabs).can_focus = False
        self.set_interval(REPLAY_TICK, self.advance)
        self.set_interval(FORGET, self._forget)
        self.follow()
        self.watcher.start()

    def _forget(self) -> None:
        cached_cell_len.cache_clear()

    def on_unmount(self) -> None:
        """Stop to watch."""
        self.watcher.stop()

    def looked(self) -> None:
        """Draw soon; called from the watcher's thread."""
        self.post_message(self.Looked())

    @on(Looked)
    def _looked(self) -> None:
        self.frames = self.watcher.frames
        if self.opened is None:
            real = [s for s in self.watcher.summaries if s.status != "not a run"]
            if real:
                self.open_run(real[0].path)
            elif self.view_name == "live":
                self.action_view("runs")
        with contextlib.suppress(NoMatches):  # see `draw`
            self.hear()
        self.draw()

    def draw(self) -> None:
        """Draw the status and the view in front."""
        shown = self.shown
        # While the application closes, its widgets go one by one; looks and ticks may still come.
        with contextlib.suppress(NoMatches), self.batch_update():
            if shown is not None:
                line = status_line(shown, self.glyphs, self.remark())
                self.query_one("#status", Static).update(line, layout=False)
            self.view.show(self)

    @on(RunsView.Opened)
    def _opened(self, event: RunsView.Opened) -> None:
        self.open_run(event.path)
        self.action_view("live")

    @on(RunsView.Marked)
    def _mark(self, event: RunsView.Marked) -> None:
        others = tuple(path for path in self.marked if path != event.path)
        self.marked = others if event.path in self.marked else (*others, event.path)
        self.follow()
        self.draw()

    @on(Tabs.TabActivated)
    def _tab(self, event: Tabs.TabActivated) -> None:
        self._to(event.tab.id or "live")

    def action_view(self, name: str) -> None:
        """Bring a view to the front."""
        self.query_one(Tabs).active = name

    def _to(self, name: str) -> None:
        self.query_one(ContentSwitcher).current = name
        target = self.view.focus_target()
        if target is not None:
            target.focus()
        self.call_after_refresh(self.draw)

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """Everything that has a key, by name, beside Textual's own."""
        yield from super().get_system_commands(screen)
        for binding in self.BINDINGS:
            if isinstance(binding, Binding) and self.check_action(
                binding.action.partition("(")[0], ()
            ):
                yield SystemCommand(
                    binding.description,
                    f"key {binding.key_display or binding.key}",
                    partial(self._act, binding.action),
                )

    def _act(self, action: str) -> None:
        self.run_worker(self.run_action(action))
