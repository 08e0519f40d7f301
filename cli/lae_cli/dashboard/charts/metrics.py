"""Everything that can be charted: where it is in a frame, its name, unit and format."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from string import ascii_letters

import numpy as np

from lae_cli.dashboard.charts.series import Series
from lae_cli.dashboard.following.columns import Columns, Floats
from lae_cli.dashboard.following.frame import Frame
from lae_cli.terminal import vocabulary
from lae_fast.runs.health import accept_band

X_AXES = ("iteration", "epoch", "time")
"""What can stand on the x axis; time is hours of training."""
UNITS = {"iteration": "iter.", "epoch": "epoch", "time": "hours"}
"""What is written beside the x axis."""
_PLACES = {"iteration": "iteration {:.0f}", "epoch": "epoch {:.2f}", "time": "{:.3f} hours"}


def place(x_axis: str, x: float) -> str:
    """A place on the x axis in words. Iterations are whole, however the cursor falls."""
    return _PLACES[x_axis].format(x)


@dataclass(frozen=True)
class Curve:
    """One column of a frame, to be drawn."""

    column: str
    name: str
    colour: str = vocabulary.TRAIN_COLOUR
    evaluated: bool = False
    """In the validation's columns; in the history's otherwise."""


@dataclass(frozen=True)
class Metric:
    """One chart."""

    name: str
    unit: str
    curves: tuple[Curve, ...]
    number: Callable[[float | None], str] = vocabulary.number
    """How a value is written."""
    log_y: bool = False
    """Whether the y axis begins logarithmic."""
    y_range: tuple[float, float] | None = None
    """A fixed range of y, such as 0 to 1 for a rate."""
    banded: bool = False
    """Whether the target band of the acceptance is drawn."""

    @property
    def title(self) -> str:
        """Its name and unit."""
        return f"{self.name} [{self.unit}]" if self.unit else self.name


@dataclass(frozen=True, eq=False)
class Drawing:
    """What a chart shows: a metric of some runs as lines."""

    metric: Metric
    x_axis: str
    series: Sequence[Series]


_TRAIN = Curve("train_loss", vocabulary.TRAIN_LOSS)
_VAL = Curve("val_loss", vocabulary.VAL_LOSS, vocabulary.VAL_COLOUR, evaluated=True)

LOSS = Metric("loss", vocabulary.LOSS_UNIT, (_TRAIN, _VAL), vocabulary.loss)


def _acceptance(column: str, name: str, curve: str) -> Metric:
    curves = (Curve(column, curve, "#4fc3b0"),)
    return Metric(name, "", curves, vocabulary.rate, y_range=(0.0, 1.0), banded=True)


def _single(
    column: str,
    name: str,
    unit: str = "",
    *,
    log_y: bool = False,
    evaluated: bool = False,
    number: Callable[[float | None], str] = vocabulary.number,
) -> Metric:
    colour = vocabulary.VAL_COLOUR if evaluated else vocabulary.TRAIN_COLOUR
    return Metric(name, unit, (Curve(column, name, colour, evaluated),), number, log_y)


ACCEPTANCE = _acceptance("accept_rate", vocabulary.ACCEPTANCE, vocabulary.ACCEPTANCE)
WOULD_BE = _acceptance("accept_prob", f"{vocabulary.WOULD_BE} acceptance", vocabulary.WOULD_BE)
STEP_SIZE = _single("step_size", vocabulary.STEP_SIZE, log_y=True, number=vocabulary.scientific)
GRAD_NORM = _single("grad_norm", vocabulary.GRAD_NORM, log_y=True)
IMAGE_RATE = _single("images_per_second", vocabulary.IMAGE_RATE, number=vocabulary.per_second)
MEMORY = _single("memory_bytes", vocabulary.MEMORY, number=vocabulary.size)
METRICS: tuple[Metric, ...] = (
    LOSS,
    _single("train_loss", vocabulary.TRAIN_LOSS, vocabulary.LOSS_UNIT, number=vocabulary.loss),
    _single(
        "val_loss",
        vocabulary.VAL_LOSS,
        vocabulary.LOSS_UNIT,
        evaluated=True,
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
    _single("cpu_cores", vocabulary.CPU),
)


def at_a_glance(frame: Frame) -> tuple[Metric, ...]:
    """The charts of the live view, the most telling first.

    Of a chain, the acceptance that matters: the rate with MH, the would-be one without.
    """
    if not frame.has_chain:
        return LOSS, GRAD_NORM, IMAGE_RATE, MEMORY
    return LOSS, ACCEPTANCE if frame.mh else WOULD_BE, STEP_SIZE, GRAD_NORM


def shape(frames: Sequence[Frame]) -> tuple[object, ...]:
    """What makes a chart another one, growth left out; of runs that do not grow, all there is."""
    return tuple(
        (f.path, f.has_chain, None if f.controllable or f.share_read < 1 else length((f,)))
        for f in frames
    )


def length(frames: Sequence[Frame]) -> int:
    """How many points there were to be drawn."""
    return sum(frame.history.events + frame.validation.events for frame in frames)


def draw(metric: Metric, frames: Sequence[Frame], x_axis: str = "iteration") -> Drawing:
    """One metric of one run in the metric's colours, or of several in the runs' colours."""
    several = len(frames) > 1
    series = _band(frames[0], x_axis) if metric.banded and frames else []
    colours = vocabulary.run_colours(frame.path.name for frame in frames)
    for letter, own, frame in zip(ascii_letters.swapcase(), colours, frames, strict=False):
        for curve in metric.curves:
            columns = frame.validation if curve.evaluated else frame.history
            run = f"{letter} {frame.name}"
            grouped = several and len(metric.curves) > 1
            label = run if several and not grouped else curve.name
            x, y = _x(frame, columns, x_axis), columns.column(curve.column)
            dim = grouped and not curve.evaluated
            colour = own if several else curve.colour
            series.append(Series(label, x, y, colour, dim=dim, run=run if grouped else ""))
    return Drawing(metric, x_axis, series)


def _x(frame: Frame, columns: Columns, x_axis: str) -> Floats:
    """The x values of the rows."""
    if x_axis == "time":
        return columns.column("elapsed") / 3600
    iterations = columns.column("iteration")
    if x_axis == "epoch" and frame.started is not None:
        return iterations / float(min(max(1, frame.started.iterations_per_epoch), 1 << 62))
    return iterations


def _band(frame: Frame, x_axis: str) -> list[Series]:
    x = _x(frame, frame.history, x_axis)
    if not len(x):
        return []
    ends = np.array([np.fmin.reduce(x), np.fmax.reduce(x)])
    return [
        Series("", ends, np.full(2, edge), vocabulary.GOOD, faint=True)
        for edge in accept_band(frame.target_accept)
    ]
