"""The live picture of a training run, as a Rich renderable made from a `RunView`."""

from __future__ import annotations

import functools
from dataclasses import dataclass

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.panel import Panel
from rich.segment import Segment
from rich.style import Style
from rich.table import Table
from rich.text import Text

from lae_cli.progress.view import Picture, RunView
from lae_cli.terminal import images, scatter, vocabulary
from lae_cli.terminal.console import plain
from lae_cli.terminal.glyphs import Glyphs
from lae_cli.terminal.pictures import half_blocks
from lae_cli.terminal.sparkline import bar, sparkline
from lae_cli.terminal.values import values
from lae_fast.runs.events import Message

LABEL_WIDTH, VALUE_WIDTH = 10, 9
WIDEST, TALLEST = 150, 38
"""A picture larger than this is no easier to read."""


@dataclass(frozen=True, kw_only=True)
class Look(Glyphs):
    """What the terminal allows, and the room there is."""

    width: int
    height: int


class Frozen:
    """Lines made once and shown in many frames: only numbers change between evaluations."""

    def __init__(self, lines: list[list[Segment]]) -> None:
        self._segments = [
            segment for line in lines for segment in (*Segment.simplify(line), Segment.line())
        ]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        return iter(self._segments)


def picture(view: RunView, look: Look) -> RenderableType:
    """The whole display, never taller than ``look.height`` lines."""
    width, height = min(look.width, WIDEST), min(look.height, TALLEST)
    inner = width - 4
    with_plot = inner >= 66 and height >= 12
    left = inner if not with_plot else max(38, min(58, inner // 2))
    gaps = with_plot or height >= 19
    numbers = _values(view, look, left, gaps=gaps)
    body: RenderableType = numbers
    if with_plot:
        body = Table.grid(padding=(0, 2, 0, 0))
        body.add_column(width=left)
        body.add_column(width=inner - left - 2)
        # Borders, two bars, a gap above and a note below the body.
        room = max(1, height - 6)
        spare = room - numbers.row_count - 1
        column = Group(numbers, Text(), _reconstructions(view.picture, look, left, spare))
        body.add_row(column, _plot(view, look, inner - left - 2, room))
    parts = [_bars(view, look, inner), *([Text()] if gaps else []), body, _note(view)]
    return Panel(
        Group(*parts),
        title=_title(view, look),
        title_align="left",
        box=box.ROUNDED if look.unicode else box.ASCII,
        width=width,
        border_style=vocabulary.QUIET,
        padding=(0, 1),
        height=height if with_plot else min(height, numbers.row_count + 5 + gaps),
    )


def _title(view: RunView, look: Look) -> Text:
    if view.started is None:
        return Text("preparing")
    parts = [view.run_name, view.started.device, view.started.engine]
    title = plain(look.dot.join(part for part in parts if part), "bold")
    title.truncate(min(look.width, WIDEST) - 6, overflow="ellipsis" if look.unicode else "crop")
    return title


def _bars(view: RunView, look: Look, width: int) -> Text:
    """The epoch's progress, and the run's with the time."""
    most = view.started.max_epochs if view.started else view.config["epochs"]
    epoch = view.progress.epoch if view.progress else 0
    epoch_text = f"{epoch} of {most}{_left(view.epoch_left_now)}"
    at_least = "at least " if view.end_is_open else ""
    time_text = f"{vocabulary.duration(view.elapsed_now)} elapsed"
    time_text += _left(view.seconds_left_now, at_least)
    longest = max(len(epoch_text), len(time_text))
    room = max(0, min(width - LABEL_WIDTH - 32, width - LABEL_WIDTH - longest - 2))
    text = Text(no_wrap=True, overflow="crop")
    rows = (
        ("epoch", view.epoch_share, epoch_text),
        ("run", view.share_now, time_text),
    )
    for label, share, what in rows:
        done, rest = bar(share, room, unicode=look.unicode)
        text.append(f"{label:<{LABEL_WIDTH}} ", style=vocabulary.QUIET)
        text.append(done, style=vocabulary.ACCENT)
        text.append(rest, style=vocabulary.QUIET)
        text.append(f" {what}{'' if label == 'run' else chr(10)}")
    return text


def _left(seconds: float | None, about: str = "") -> str:
    return "" if seconds is None else f", {about}{vocabulary.duration(seconds)} left"


def _values(view: RunView, look: Look, width: int, *, gaps: bool) -> Table:
    """Label and value per line, with a chart where there is a history."""
    room = max(1, width - LABEL_WIDTH - VALUE_WIDTH - 2)
    table = Table.grid(padding=(0, 1, 0, 0))
    table.add_column(width=LABEL_WIDTH, style=vocabulary.QUIET if look.colour else "", no_wrap=True)
    table.add_column(width=VALUE_WIDTH, justify="right")
    table.add_column(width=room, no_wrap=True, overflow="crop")
    shown = {value.label: value for value in values(view, look)}
    judged = next((value.colour for value in shown.values() if value.colour), "")
    line = functools.partial(sparkline, width=room, unicode=look.unicode)
    charts = {
        vocabulary.TRAIN_LOSS: Text(line(list(view.train_losses)), vocabulary.TRAIN_COLOUR),
        vocabulary.VAL_LOSS: Text(line(list(view.val_losses)), vocabulary.VAL_COLOUR),
        vocabulary.TARGET: Text(line(list(view.accept_rates), low=0.0, high=1.0), judged),
    }
    for label, text, note, colour in shown.values():
        if _is_left_out(view, label):
            continue
        if gaps and label in (vocabulary.GRAD_NORM, vocabulary.ACCEPTANCE):
            table.add_row()
        style = f"bold {colour}" if colour else ""
        table.add_row(label, Text(text, style), charts.get(label, Text(note, style)))
    return table


def _is_left_out(view: RunView, label: str) -> bool:
    """What the dashboard shows beside these."""
    unknown_memory = view.progress is None or view.progress.memory_bytes is None
    return (
        label in (vocabulary.ESS, vocabulary.RHAT)
        or (label == vocabulary.MEMORY and unknown_memory)
        or (label == vocabulary.ACCEPTANCE and not view.has_chain)
    )


def _plot(view: RunView, look: Look, width: int, height: int) -> RenderableType:
    """The caption and the scatter of the latents."""
    if view.picture is None:
        return Text("the latents appear within seconds", style=vocabulary.QUIET)
    dim = view.config["latent_dim"]
    how = "" if dim <= 2 else f", 2 principal components of {dim}"
    when = view.picture.when
    caption = f"latents, {when}{how}"
    if len(caption) > width:
        caption = f"latents, {when}{'' if dim <= 2 else ', PCA'}"
    text = Text(caption[:width], style=vocabulary.QUIET, no_wrap=True)
    return Group(text, _scatter(view.picture, look, width, height - 1))


@functools.lru_cache(maxsize=2)
def _scatter(shown: Picture, look: Look, width: int, height: int) -> Frozen:
    rows = scatter.draw(
        shown.points,
        shown.snapshot.labels,
        width,
        height,
        braille=look.unicode,
        colour=look.colour,
    )
    styles = {cell: Style.parse(_cell_style(cell)) for row in rows for cell in row}
    return Frozen([[Segment(cell.text, styles[cell]) for cell in row] for row in rows])


@functools.lru_cache(maxsize=2)
def _reconstructions(shown: Picture | None, look: Look, width: int, rows: int) -> Frozen:
    """Images and their reconstructions, where there is room and colour to show them."""
    if shown is None or not (look.unicode and look.colour):
        return Frozen([])
    snapshot = shown.snapshot
    pair = images.strips(snapshot.originals, snapshot.reconstructions, width, rows - 2)
    lines: list[list[Segment]] = []
    for caption, pixels in zip(("images", "reconstructions"), pair, strict=False):
        lines.append([Segment(caption, Style.parse(vocabulary.QUIET))])
        lines += half_blocks(pixels)
    return Frozen(lines)


def _cell_style(cell: scatter.Cell) -> str:
    if cell.label is None:
        return ""
    colour = vocabulary.class_colour(cell.label)
    return f"bold reverse {colour}" if cell.marker else f"not dim {colour}"


def _note(view: RunView) -> Text:
    """What the trainer or the user said last."""
    if view.finished is not None:
        status = view.finished.status
        return plain(status, f"bold {vocabulary.status_colour(status)}")
    if view.note:
        return _one_line(plain(view.note, f"bold {vocabulary.WARN}"))
    message = next((note for note in reversed(view.notes) if isinstance(note, Message)), None)
    if message is not None:
        styles = {"warning": vocabulary.WARN, "error": f"bold {vocabulary.BAD}"}
        prefix = "" if message.level == "info" else f"{message.level}: "
        style = styles.get(message.level, vocabulary.QUIET)
        return _one_line(plain(f"{prefix}{message.text}", style))
    return Text("Ctrl-C stops and keeps the weights", style=vocabulary.QUIET)


def _one_line(text: Text) -> Text:
    text.no_wrap, text.overflow = True, "crop"
    return text
