"""What the keys do besides drawing: commands, replay, scrubbing, export."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from lae_cli.dashboard.base import Base
from lae_cli.dashboard.charts import exports
from lae_cli.dashboard.charts.exports import ExportError, Rows
from lae_cli.dashboard.charts.metrics import METRICS, draw
from lae_cli.dashboard.following import control, snapshots
from lae_cli.dashboard.following.frame import Frame
from lae_cli.dashboard.following.replay import Replay
from lae_cli.dashboard.keys import HELP
from lae_cli.dashboard.views.charts_view import ChartsView
from lae_cli.dashboard.views.compare_view import CompareView
from lae_cli.dashboard.views.dialogs import Ask, Confirm, Help
from lae_cli.dashboard.views.latents_view import LatentsView
from lae_cli.dashboard.views.runs_view import RunsView
from lae_fast.errors import RunError, printable

REPLAY_TICK = 0.25
"""Seconds between two pictures of a replay, or of the evaluations playing."""
CONTROLS = frozenset({"pause", "checkpoint", "stop", "step_size", "export"})
"""Actions that write something: a read-only dashboard has none of them."""
STEP_SIZE_HELP = "a positive number, such as 1e-3"


class Actions(Base):
    """The actions that keys and the command palette call."""

    def say(self, text: str, *, bad: bool = False) -> None:
        """A note in the corner; never read as markup."""
        self.notify(
            printable(text), severity="error" if bad else "information", markup=False, timeout=6
        )

    def action_help(self) -> None:
        """Show the keys."""
        self.push_screen(Help(HELP))

    # Control

    def _trainer(self) -> Frame | None:
        """The open run, if a trainer may take a command; says why not."""
        frame = self.frame
        if frame is None:
            self.say("no run is open", bad=True)
        elif self.replaying is not None:
            self.say("this is a replay; press R to leave it", bad=True)
        elif not frame.controllable:
            ended = f"{frame.name} has already ended ({frame.status}), so it takes no commands"
            self.say(frame.problem or ended, bad=True)
        else:
            return frame
        return None

    def _ask(self, frame: Frame, command: str, **args: Any) -> None:
        try:
            self.pending = control.ask(frame.path, command, **args)
        except RunError as error:
            self.say(str(error), bad=True)
        self.draw()

    def action_pause(self) -> None:
        """Pause the trainer, or let it go on."""
        if (frame := self._trainer()) is not None:
            self._ask(frame, "resume" if frame.status == "paused" else "pause")

    def action_checkpoint(self) -> None:
        """Have the weights written now."""
        if (frame := self._trainer()) is not None:
            self._ask(frame, "checkpoint")

    def action_stop(self, after: str) -> None:
        """End the training, after the epoch or at once; asks first."""
        frame = self._trainer()
        if frame is None:
            return
        when = "after this epoch" if after == "epoch" else "after this iteration"

        def answered(yes: bool | None) -> None:
            if yes:
                self._ask(frame, "stop", after=after)

        question = f"Stop {frame.name} {when}? The weights are kept; it cannot be taken back."
        self.push_screen(Confirm(question), answered)

    def action_step_size(self) -> None:
        """Fix the step size at a value."""
        frame = self._trainer()
        if frame is None:
            return

        def check(text: str) -> str | None:
            return None if control.step_size_of(text) is not None else STEP_SIZE_HELP

        def answered(text: str | None) -> None:
            if text is not None:
                self._ask(frame, "step_size", value=control.step_size_of(text))

        now = f"{frame.progress.step_size:.3g}" if frame.progress else ""
        question = f"Step size of {frame.name}, fixed from now on:"
        self.push_screen(Ask(question, now, check), answered)

    def hear(self) -> None:
        """Say what the trainer answered."""
        pending = self.pending
        frame = self.frames.get(pending.run) if pending else None
        if pending is None or frame is None:
            return
        answer = pending.answer(frame)
        if answer is not None:
            self.say(f"{frame.name}: {answer.text}", bad=not answer.accepted)
            self.pending = None
        elif not frame.controllable:
            self.say(f"{frame.name} ended before it took '{pending.command}'", bad=True)
            self.pending = None

    def remark(self) -> str:
        """What else the status line says."""
        if self.replaying is not None:
            return self.replaying.words(self.glyphs)
        if self.pending is not None and self.pending.run == self.opened:
            return self.pending.words(time.time())
        return "read-only" if self.begun.readonly else ""

    # Time

    def action_replay(self) -> None:
        """See a finished run again, or return to its end."""
        frame = self.frame
        if self.replaying is not None:
            self.replaying = None
        elif frame is None or frame.controllable:
            self.say("a replay is for runs that have ended", bad=True)
        elif frame.share_read < 1:
            self.say("the history is still being read", bad=True)
        else:
            self.replaying = Replay.of(frame)
            if self.replaying is None:
                self.say("there is nothing to replay", bad=True)
        self.draw()

    def action_play(self) -> None:
        """Hold the replay or the evaluations, or let them go on."""
        if self.replaying is not None:
            self.replaying.toggle()
        elif self.frame is not None and self.view_name in ("latents", "pictures"):
            many = len(self.frame.pictured)
            self.playing = not self.playing
            if self.playing and self.evaluation in (None, many - 1):
                self.evaluation = 0
        self.draw()

    def action_speed(self, steps: int) -> None:
        """Replay faster or slower."""
        if self.replaying is not None:
            self.replaying.faster(steps)
            self.draw()

    def action_scrub(self, steps: int) -> None:
        """Back or forward: through a replay, or through the evaluations."""
        if self.replaying is not None:
            self.replaying.skip(0.05 * steps)
        elif self.frame is not None and (pick := snapshots.chosen(self.frame, self.evaluation)):
            self._look_at(pick[0] + steps)
        self.draw()

    def action_scrub_to(self, place: int) -> None:
        """To the first evaluation, or to the newest (-1)."""
        if self.replaying is not None:
            self.replaying.skip(-1.0 if place == 0 else 1.0)
        self.evaluation = None if place < 0 else place
        self.draw()

    def _look_at(self, place: int) -> None:
        many = len(self.frame.pictured) if self.frame else 0
        self.evaluation = None if place >= many - 1 else max(0, place)

    def advance(self) -> None:
        """Let a replay, or the evaluations, move on."""
        if self.replaying is not None and self.replaying.playing:
            self.replaying.advance(REPLAY_TICK)
            self.draw()
        elif self.playing and self.evaluation is not None:
            self._look_at(self.evaluation + 1)
            self.playing = self.evaluation is not None
            self.draw()

    def action_other_run(self, step: int) -> None:
        """The next run in the list."""
        paths = [s.path for s in self.watcher.summaries if s.status != "not a run"]
        if paths:
            place = paths.index(self.opened) + step if self.opened in paths else 0
            self.open_run(paths[place % len(paths)])

    # Export

    def action_export(self) -> None:
        """Save what the view shows."""
        rows = self.exported()
        if rows is None:
            self.say("there is nothing to export here yet", bad=True)
        else:
            # Taken now: the dialog must not be in the picture.
            svg = self.export_screenshot(title="lae")
            first = "svg" if self.view_name == "pictures" else "csv"
            question = "Save this view as (.csv, .json or .svg), in the present folder or a path:"
            self.push_screen(
                Ask(question, exports.file_name(rows.name, first), lambda t: _save(t, rows, svg)),
                lambda text: self.say(f"wrote {text}") if text else None,
            )

    def exported(self) -> Rows | None:
        """The view's content as a table."""
        view, shown = self.view, self.shown
        if isinstance(view, RunsView | CompareView | LatentsView):
            return view.export()
        if shown is None:
            return None
        charts = view if isinstance(view, ChartsView) else None
        chosen = METRICS if charts is None else (charts.metric,)
        frames = [shown] if charts is None else self.all_shown
        x_axis = "iteration" if charts is None else charts.x_axis
        drawings = [draw(metric, frames, x_axis) for metric in chosen]
        what = self.view_name if charts is None else charts.metric.name
        return exports.of_drawings(f"{shown.name}-{what}", drawings)


def _save(text: str, rows: Rows, svg: str) -> str | None:
    try:
        exports.write(Path(text).expanduser(), rows, svg)
    except (ExportError, RuntimeError) as error:
        return str(error)
    return None
