"""Everything that can be charted: where it is in a frame, its name, unit and format."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from lae_cli.dashboard.charts.chart import Drawing
from lae_cli.dashboard.following.columns import Table
from lae_cli.dashboard.following.series import Floats, Series
from lae_cli.dashboard.following.story import Frame
from lae_cli.terminal import vocabulary

X_AXES = ("iteration", "epoch", "time")
"""What can stand on the x axis; time is hours of training."""


@dataclass(frozen=True)
class Line:
    """One column of a frame."""

    column: str
    name: str
    colour: str = vocabulary.TRAIN_COLOUR
    evaluated: bool = False
    """In the validation table; in the history otherwise."""


@dataclass(frozen=True)
class Metric:
    """One chart."""

    title: str
    unit: str
    lines: tuple[Line, ...]
    number: Callable[[float | None], str] = vocabulary.figure
    log_y: bool = False
    y_range: tuple[float, float] | None = None
    banded: bool = False
    """Whether the target band of the acceptance is drawn."""


_TRAIN = Line("train_loss", vocabulary.TRAIN_LOSS)
_VAL = Line("val_loss", vocabulary.VAL_LOSS, vocabulary.VAL_COLOUR, evaluated=True)

LOSS = Metric("loss", vocabulary.LOSS_UNIT, (_TRAIN, _VAL), vocabulary.loss)
ACCEPTANCE = Metric(
    vocabulary.ACCEPTANCE, "", (Line("accept_rate", vocabulary.ACCEPTANCE, "#4fc3b0"),),
    vocabulary.rate, y_range=(0.0, 1.0), banded=True,
)  # fmt: skip
WOULD_BE = Metric(
    f"{vocabulary.WOULD_BE} acceptance", "",
    (Line("accept_prob", vocabulary.WOULD_BE, "#4fc3b0"),),
    vocabulary.rate, y_range=(0.0, 1.0), banded=True,
)  # fmt: skip


def _single(
    column: str, name: str, unit: str = "", *, log_y: bool = False, evaluated: bool = False,
    number: Callable[[float | None], str] = vocabulary.figure,
) -> Metric:  # fmt: skip
    colour = vocabulary.VAL_COLOUR if evaluated else vocabulary.TRAIN_COLOUR
    return Metric(name, unit, (Line(column, name, colour, evaluated),), number, log_y)


STEP_SIZE = _single("step_size", vocabulary.STEP_SIZE, log_y=True, number=vocabulary.scientific)
GRAD_NORM = _single("grad_norm", vocabulary.GRAD_NORM, log_y=True)
IMAGE_RATE = _single("images_per_second", vocabulary.IMAGE_RATE, number=vocabulary.per_second)
MEMORY = _single("memory_bytes", vocabulary.MEMORY, number=vocabulary.size)
METRICS: tuple[Metric, ...] = (
    LOSS,
    _single("train_loss", vocabulary.TRAIN_LOSS, vocabulary.LOSS_UNIT, number=vocabulary.loss),
    _single(
        "val_loss", vocabulary.VAL_LOSS, vocabulary.LOSS_UNIT, evaluated=True,
        number=vocabulary.loss,
    ),
    _single("val_reconstruction", "val reconstruction", vocabulary.LOSS_UNIT, evaluated=True),
    _single("val_prior", "val prior term", vocabulary.LOSS_UNIT, evaluated=True),
    ACCEPTANCE,
    WOULD_BE,
    STEP_SIZE,
    _single("ess_per_step", vocabulary.ESS, evaluated=True),
    _single("split_rhat", vocabulary.RHAT, evaluated=True),
    GRAD_NORM,
    IMAGE_RATE,
    _single("steps_per_second", vocabulary.STEP_RATE, number=vocabulary.per_second),
    MEMORY,
)  # fmt: skip


def at_a_glance(frame: Frame) -> tuple[Metric, ...]:
    """The charts of the live view, the most telling first.

    Of a chain, the acceptance that matters: the rate with MH, the would-be one without.
    """
    if not frame.chain:
        return LOSS, GRAD_NORM, IMAGE_RATE, MEMORY
    return LOSS, ACCEPTANCE if frame.mh else WOULD_BE, STEP_SIZE, GRAD_NORM


def shape(frames: Sequence[Frame]) -> tuple[object, ...]:
    """What makes a chart another one, growth left out; of runs that do not grow, all there is."""
    return tuple(
        (f.path, f.chain, None if f.controllable or f.share_read < 1 else length((f,)))
        for f in frames
    )


def length(frames: Sequence[Frame]) -> int:
    """How many points there were to be drawn."""
    return sum(frame.history.events + frame.validation.events for frame in frames)


def drawing(metric: Metric, frames: Sequence[Frame], x_axis: str = "iteration") -> Drawing:
    """One metric of one run in the metric's colours, or of several in the runs' colours."""
    several = len(frames) > 1
    lines: list[Series] = []
    if metric.banded and frames:
        lines += _band(frames[0], x_axis)
    colours = vocabulary.run_colours(frame.path.name for frame in frames)
    for letter, own, frame in zip(_letters(), colours, frames, strict=False):
        for line in metric.lines:
            label = f"{letter} {frame.name}" if several else line.name
            if several and len(metric.lines) > 1:
                label += f" {line.name}"
            colour = own if several else line.colour
            x, y = _points(frame, line, x_axis)
            dim = several and len(metric.lines) > 1 and not line.evaluated
            lines.append(Series(label, x, y, colour, dim=dim))
    unit = f" [{metric.unit}]" if metric.unit else ""
    return Drawing(
        f"{metric.title}{unit}", x_axis, lines, metric.number, metric.log_y, metric.y_range
    )


def _letters() -> str:
    return "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def _points(frame: Frame, line: Line, x_axis: str) -> tuple[Floats, Floats]:
    table = frame.validation if line.evaluated else frame.history
    return x_of(frame, table, x_axis), table.column(line.column)


def x_of(frame: Frame, table: Table, x_axis: str) -> Floats:
    """The x values of a table's rows."""
    if x_axis == "time":
        return table.column("elapsed") / 3600
    iterations = table.column("iteration")
    if x_axis == "epoch" and frame.started is not None:
        return iterations / float(min(max(1, frame.started.iterations_per_epoch), 1 << 62))
    return iterations


def _band(frame: Frame, x_axis: str) -> list[Series]:
    x = x_of(frame, frame.history, x_axis)
    if not len(x):
        return []
    ends = np.array([np.fmin.reduce(x), np.fmax.reduce(x)])
    return [
        Series("", ends, np.full(2, edge), vocabulary.GOOD, faint=True, in_range=False)
        for edge in vocabulary.accept_band(frame.target_accept)
    ]
