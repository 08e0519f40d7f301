"""The live picture of a training run, as a Rich renderable made from a `RunView`."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

from rich import box
from rich.color import Color
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.panel import Panel
from rich.segment import Segment
from rich.style import Style
from rich.table import Table
from rich.text import Text

from lae_cli.progress.view import Picture, RunView
from lae_cli.terminal import images, scatter, vocabulary
from lae_cli.terminal.console import plain
from lae_cli.terminal.sparkline import bar, sparkline

LABEL_WIDTH, VALUE_WIDTH = 10, 9
WIDEST, TALLEST = 150, 38
"""A picture larger than this is no easier to read."""


@dataclass(frozen=True)
class Look:
    """What the terminal allows, and the room there is."""

    width: int
    height: int
    unicode: bool = True
    colour: bool = True

    @property
    def dot(self) -> str:
        """A separator."""
        return " · " if self.unicode else " | "

    @property
    def band_dash(self) -> str:
        """Between the ends of a range."""
        return "–" if self.unicode else "-"


class Frozen:
    """Lines made once and shown in many frames: only figures change between evaluations."""

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
    figures = _figures(view, look, left, gaps=gaps)
    body: RenderableType = figures
    if with_plot:
        body = Table.grid(padding=(0, 2, 0, 0))
        body.add_column(width=left)
        body.add_column(width=inner - left - 2)
        # Borders, two bars, a gap above and a note below the body.
        room = max(1, height - 6)
        spare = room - figures.row_count - 1
        column = Group(figures, Text(), _reconstructions(view.picture, look, left, spare))
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
        height=height if with_plot else min(height, figures.row_count + 5 + gaps),
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
    most = view.started.max_epochs if view.started else view.config.epochs
    epoch = view.progress.epoch if view.progress else 0
    elapsed, left = vocabulary.duration(view.elapsed), vocabulary.duration(view.eta)
    time_text = f"{elapsed} elapsed" + (f", {left} left" if left != "-" else "")
    room = max(0, min(width - LABEL_WIDTH - 32, width - LABEL_WIDTH - len(time_text) - 2))
    text = Text(no_wrap=True, overflow="crop")
    rows = (
        ("epoch", view.epoch_share, f"{epoch} of at most {most}"),
        ("run", view.share, time_text),
    )
    for label, share, what in rows:
        done, rest = bar(share, room, unicode=look.unicode)
        text.append(f"{label:<{LABEL_WIDTH}} ", style=vocabulary.QUIET)
        text.append(done, style=vocabulary.ACCENT)
        text.append(rest, style=vocabulary.QUIET)
        text.append(f" {what}{'' if label == 'run' else chr(10)}")
    return text


def _figures(view: RunView, look: Look, width: int, *, gaps: bool) -> Table:
    """Label, value and chart of each figure."""
    table = Table.grid(padding=(0, 1, 0, 0))
    table.add_column(width=LABEL_WIDTH, style=vocabulary.QUIET if look.colour else "", no_wrap=True)
    table.add_column(width=VALUE_WIDTH, justify="right")
    table.add_column(
        width=max(1, width - LABEL_WIDTH - VALUE_WIDTH - 2), no_wrap=True, overflow="crop"
    )
    room = max(1, width - LABEL_WIDTH - VALUE_WIDTH - 2)
    now, last, best = view.progress, view.evaluated, view.best
    train = now.train_loss if now else None
    table.add_row(
        vocabulary.TRAIN_LOSS,
        vocabulary.loss(train),
        Text(_chart(view.train_losses, room, look), style=vocabulary.TRAIN_COLOUR),
    )
    table.add_row(
        vocabulary.VAL_LOSS,
        vocabulary.loss(last.val_loss if last else None),
        Text(_chart(view.val_losses, room, look), style=vocabulary.VAL_COLOUR),
    )
    table.add_row(
        vocabulary.BEST,
        vocabulary.loss(best.val_loss if best else None),
        Text(f"epoch {best.epoch}" if best else vocabulary.LOSS_UNIT),
    )
    if gaps:
        table.add_row()
    if view.config.has_chain:
        _add_acceptance(table, view, look, room)
        table.add_row(
            vocabulary.STEP_SIZE,
            vocabulary.scientific(now.step_size if now else None),
            Text("adapted" if view.config.step_size == "auto" else "fixed"),
        )
        if gaps:
            table.add_row()
    table.add_row(vocabulary.GRAD_NORM, vocabulary.figure(now.grad_norm if now else None))
    table.add_row(
        vocabulary.IMAGE_RATE, vocabulary.per_second(now.images_per_second if now else None)
    )
    if view.config.has_chain:
        table.add_row(
            vocabulary.STEP_RATE,
            vocabulary.per_second(now.steps_per_second if now else None),
            Text(f"T = {view.config.steps}"),
        )
    if now is not None and now.memory_bytes is not None:
        table.add_row("memory", vocabulary.size(now.memory_bytes))
    return table


def _add_acceptance(table: Table, view: RunView, look: Look, room: int) -> None:
    """The acceptance rate against its band, in colour, in words and as a chart from 0 to 1."""
    now, target = view.progress, view.config.target_accept
    low, high = vocabulary.accept_band(target)
    value = None if now is None else (now.accept_rate if view.config.mh else now.accept_prob)
    label = vocabulary.ACCEPTANCE if view.config.mh else vocabulary.WOULD_BE
    text, colour = Text(), ""
    if value is not None:
        verdict = vocabulary.judge_acceptance(value, target)
        colour = verdict.colour
        text = Text(f"{verdict.sign} {verdict.word}", style=f"bold {colour}")
    table.add_row(label, Text(vocabulary.rate(value), style=f"bold {colour}"), text)
    chart = sparkline(list(view.accept_rates), room, low=0.0, high=1.0, unicode=look.unicode)
    band = f"{low:.2f}{look.band_dash}{high:.2f}"
    table.add_row(
        "  target" if view.config.mh else "  (MH off)", Text(band), Text(chart, style=colour)
    )


def _chart(values: Sequence[float], room: int, look: Look) -> str:
    return sparkline(list(values), room, unicode=look.unicode)


def _plot(view: RunView, look: Look, width: int, height: int) -> RenderableType:
    """The caption and the scatter of the latents."""
    if view.picture is None:
        return Text("the latents appear after the first epoch", style=vocabulary.QUIET)
    dim = view.config.latent_dim
    how = "" if dim <= 2 else f", 2 principal components of {dim}"
    epoch = f"epoch {view.evaluated.epoch}" if view.evaluated else ""
    caption = f"latents, {epoch}{how}"
    if len(caption) > width:
        caption = f"latents, {epoch}{'' if dim <= 2 else ', PCA'}"
    text = Text(caption[:width], style=vocabulary.QUIET, no_wrap=True)
    return Group(text, _scatter(view.picture, look, width, height - 1))


@functools.lru_cache(maxsize=2)
def _scatter(shown: Picture, look: Look, width: int, height: int) -> Frozen:
    rows = scatter.draw(
        shown.points, shown.snapshot.labels, width, height,
        braille=look.unicode, colour=look.colour,
    )  # fmt: skip
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
        for top, bottom in zip(pixels[::2].tolist(), pixels[1::2].tolist(), strict=True):
            lines.append([_two_pixels(*pair) for pair in zip(top, bottom, strict=True)])
    return Frozen(lines)


def _two_pixels(upper: list[int], lower: list[int]) -> Segment:
    return Segment(images.HALF_BLOCK, Style(color=_rgb(upper), bgcolor=_rgb(lower)))


def _rgb(pixel: list[int]) -> Color:
    return Color.from_rgb(*pixel)


def _cell_style(cell: scatter.Cell) -> str:
    if cell.label is None:
        return ""
    colour = vocabulary.class_colour(cell.label)
    return f"bold reverse {colour}" if cell.marker else f"not dim {colour}"


def _note(view: RunView) -> Text:
    """What the trainer or the user said last."""
    if view.finished is not None:
        status = view.finished.status
        return plain(status, f"bold {vocabulary.STATUS_COLOURS.get(status, '')}")
    if view.note:
        return _one_line(plain(view.note, f"bold {vocabulary.WARN}"))
    if view.messages:
        message = view.messages[-1]
        styles = {"warning": vocabulary.WARN, "error": f"bold {vocabulary.BAD}"}
        prefix = "" if message.level == "info" else f"{message.level}: "
        style = styles.get(message.level, vocabulary.QUIET)
        return _one_line(plain(f"{prefix}{message.text}", style))
    return Text("Ctrl-C stops and keeps the weights", style=vocabulary.QUIET)


def _one_line(text: Text) -> Text:
    text.no_wrap, text.overflow = True, "crop"
    return text
