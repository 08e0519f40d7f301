"""Words, units, number formats and colours that every view of a run shares.

No terminal library is imported here: colours are names or hex codes that Rich and Textual share.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable
from dataclasses import dataclass

from lae_fast.config import has_chain
from lae_fast.runs.health import accept_band

TRAIN_LOSS = "train loss"
VAL_LOSS = "val loss"
BEST = "best"
ACCEPTANCE = "acceptance"
WOULD_BE = "would-be"
TARGET = "  target"
STEP_SIZE = "step size"
GRAD_NORM = "grad norm"
IMAGE_RATE = "images/s"
STEP_RATE = "Langevin/s"
ESS = "ESS/step"
RHAT = "split R-hat"
MEMORY = "memory"
CPU = "CPU cores"
LOSS_UNIT = "nats/image"
NO_CHAIN = "no chain"

GOOD, WARN, BAD, QUIET, ACCENT = "green", "yellow", "red", "bright_black", "cyan"
TRAIN_COLOUR, VAL_COLOUR = "#4e9af1", "#f28e2b"

_STATUS_COLOURS = {
    "starting": ACCENT,
    "running": ACCENT,
    "silent": WARN,
    "crashed": BAD,
    "failed": BAD,
    "interrupted": WARN,
    "time-limit": GOOD,
    "stopped-early": GOOD,
    "finished": GOOD,
    "stopped": GOOD,
    "paused": WARN,
    "not a run": QUIET,
}

CLASS_COLOURS = (
    "#4e9af1",
    "#f28e2b",
    "#e15759",
    "#4fc3b0",
    "#59a14f",
    "#edc948",
    "#b07aa1",
    "#ff9da7",
    "#b5835a",
    "#a0a8b0",
)
"""Ten hues that stay apart on dark and light backgrounds; more classes reuse them."""
RUN_COLOURS = ("#56b4e9", "#e69f00", "#2bb58d", "#f0e442", "#cc79a7", "#e8743b", "#8da0ff")
"""Okabe and Ito's hues, the dark ones lightened: apart for colour-blind readers too."""
_CLASS_LETTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def status_colour(status: str) -> str:
    """The colour of a run's status; empty for one of an unknown name."""
    return _STATUS_COLOURS.get(status, "")


def class_letter(label: int) -> str:
    """The one character that stands for a class."""
    return _CLASS_LETTERS[label % len(_CLASS_LETTERS)]


def class_colour(label: int) -> str:
    """The colour of a class."""
    return CLASS_COLOURS[label % len(CLASS_COLOURS)]


def run_colour(name: str) -> str:
    """The colour of a run: a function of its name alone, so it is the same everywhere."""
    return run_colours((name,))[0]


def run_colours(names: Iterable[str]) -> list[str]:
    """The colours of runs beside each other: their own, or the next one where it is taken."""
    colours: list[str] = []
    for name in names:
        own = zlib.crc32(name.encode(errors="surrogateescape")) % len(RUN_COLOURS)
        from_own = RUN_COLOURS[own:] + RUN_COLOURS[:own]
        colours.append(next((c for c in from_own if c not in colours), from_own[0]))
    return colours


@dataclass(frozen=True)
class Verdict:
    """What an acceptance rate means: a word and a sign for those who see no colour."""

    word: str
    sign: str
    colour: str


def judge_acceptance(rate: float, target: float, *, adapts: bool = False) -> Verdict:
    """Whether an acceptance rate lies in the band around ``target``.

    Where the step size ``adapts``, a high rate is no fault: the step size still rises, or one step
    moves as far as its cap allows.
    """
    low, high = accept_band(target)
    if not math.isfinite(rate):
        return Verdict("unknown", "?", BAD)
    if rate < low:
        return Verdict("low", "-", BAD if rate < low / 4 else WARN)
    if rate > high:
        return Verdict("high", "+", "" if adapts else WARN)
    return Verdict("in band", "=", GOOD)


def model_words(
    model: str | None, latent_dim: int | None, steps: int | None, mh: bool | None
) -> str:
    """A model and its sampler in a few words: lae z=8 T=50 MH."""
    words = [model or "lae"]
    words += [] if latent_dim is None else [f"z={latent_dim}"]
    if not has_chain(model):
        return " ".join(words)
    words += [] if steps is None else [f"T={steps}"]
    words += [] if mh is None else ["MH" if mh else "no MH"]
    return " ".join(words)


def loss(value: float | None) -> str:
    """A loss in nats per image, five digits."""
    if value is None or not math.isfinite(value):
        return "-" if value is None else str(value)
    return f"{value:.2f}" if abs(value) < 1e5 else f"{value:.3e}"


def val_heading(quantities: Iterable[str | None]) -> str:
    """The heading of a column of validation losses: it names the quantity if all have one."""
    found = set(quantities)
    only = found.pop() if len(found) == 1 else None
    return f"val {only}" if only else VAL_LOSS


def val_loss(value: float | None, quantity: str | None, heading: str) -> str:
    """A validation loss, with its quantity unless the heading names it."""
    named = quantity is None or heading != VAL_LOSS or value is None
    return loss(value) if named else f"{loss(value)} {quantity}"


def rate(value: float | None) -> str:
    """An acceptance rate; a run without a chain has none."""
    return "-" if value is None or math.isnan(value) else f"{value:.3f}"


def scientific(value: float | None) -> str:
    """A step size or a learning rate."""
    return "-" if value is None or math.isnan(value) else f"{value:.2e}"


def number(value: float | None) -> str:
    """A positive number of any size, three digits."""
    if value is None or not math.isfinite(value):
        return "-" if value is None else str(value)
    return f"{value:.3g}" if 1e-2 <= abs(value) < 1e4 or value == 0 else f"{value:.2e}"


def per_second(value: float | None) -> str:
    """A rate per second: 950, 12.3k, 4.56M."""
    if value is None or not math.isfinite(value):
        return "-"
    if abs(value) >= 1e12:
        return f"{value:.1e}"
    for least, scale, suffix in ((1e9, 1e9, "G"), (1e6, 1e6, "M"), (1e4, 1e3, "k")):
        if abs(value) >= least:
            scaled = value / scale
            return f"{scaled:.3g}{suffix}" if abs(scaled) < 999.5 else f"{scaled:.0f}{suffix}"
    return f"{value:.0f}" if abs(value) >= 10 else f"{value:.2g}"


def duration(seconds: float | None) -> str:
    """A time span: 0:07, 12:34, 1:02:03, 2d 03:04:05; ``-`` when not known."""
    if seconds is None or not math.isfinite(seconds) or seconds < 0:
        return "-"
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    if days:
        return f"{days}d {hour:02}:{minute:02}:{second:02}" if days < 1000 else "> 1000 d"
    return f"{hour}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def age(seconds: float | None) -> str:
    """How long ago, in its largest unit: 12 s, 5 min, 3 h, 2 d."""
    if seconds is None or not math.isfinite(seconds):
        return "-"
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"


def size(count: float | None) -> str:
    """A number of bytes: 512 B, 1.5 MiB."""
    if count is None:
        return "-"
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(count) < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.3g} {unit}"
        count /= 1024
    return f"{count:.3g} TiB"
