"""What a trainer says while it works: one frozen dataclass per event, one JSON object per line.

This is the contract between trainers, run folders, the live display and the dashboard. Nothing
here imports torch. Losses are nats per image; rates are in [0, 1]; times are seconds.
"""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass, field
from typing import Any, ClassVar

SCHEMA_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Event:
    """Base of all events. ``time`` is Unix time in seconds."""

    type: ClassVar[str] = "event"
    time: float


@dataclass(frozen=True, kw_only=True)
class RunStarted(Event):
    """First line of a run."""

    type: ClassVar[str] = "run_started"
    run: str
    model: str
    pid: int
    host: str
    device: str
    engine: str
    """Which path computes the steps, and why, e.g. ``fast MLP`` or ``autograd``."""
    train_images: int
    validation_images: int
    iterations_per_epoch: int
    parameters: int
    max_epochs: int
    iteration: int = 0
    """Optimiser updates done before: above 0 when a run is resumed. Earlier events beyond it are
    of work that was lost and is done again."""


@dataclass(frozen=True, kw_only=True)
class Progress(Event):
    """Means over the iterations since the previous one; the heartbeat, at least every 2 s."""

    type: ClassVar[str] = "progress"
    epoch: int
    """Epochs begun, from 1."""
    iteration: int
    """Optimiser updates done since the run began."""
    train_loss: float
    """Potential per image (prior included unless off) averaged over the T retained states."""
    accept_rate: float
    """Share of proposals taken; without MH, 1."""
    accept_prob: float
    """Mean of min(1, a): with MH off, the acceptance that MH would have had."""
    step_size: float
    grad_norm: float
    """Euclidean norm of the optimiser's gradient (decoder and encoder body)."""
    images_per_second: float
    steps_per_second: float
    """Langevin steps per second."""
    seconds_left: float | None = field(default=None, metadata={"key": "eta"})
    """At this pace, if every epoch runs; None when unknown."""
    elapsed: float = 0.0
    memory_bytes: int | None = None
    cpu_cores: float | None = None
    """Processor cores that the trainer's process kept busy; None when unknown."""


@dataclass(frozen=True, kw_only=True)
class Evaluated(Event):
    """The end of an epoch: validation, diagnostics, and the snapshot written for pictures."""

    type: ClassVar[str] = "evaluated"
    epoch: int
    iteration: int
    train_loss: float
    """Mean over the epoch, as in `Progress`."""
    val_loss: float
    """`val_reconstruction`, and `val_prior` unless the prior is off; nats per image."""
    val_reconstruction: float
    """-log p(x | z) at a draw from q(z | x), nats per image."""
    val_prior: float
    """KL(q || N(0, I)), or ||z||^2 / 2 of an LAE whose chains start at a point; nats per image."""
    accept_rate: float
    accept_prob: float
    step_size: float
    latent_std: tuple[float, ...]
    """Standard deviation of the latent means over validation images, per dimension."""
    best: bool
    """Whether this is the lowest validation loss so far."""
    elapsed: float
    ess_per_step: float | None = None
    """Effective sample size of z per Langevin step, of a short chain at the current weights (median
    over images and dimensions); None where it was not measured."""
    split_rhat: float | None = None
    """Split R-hat of z over the same chains (median over images and dimensions)."""
    snapshot: str | None = None
    """Path inside the run folder of an .npz with `latents`, `labels`, `originals`,
    `reconstructions`."""


@dataclass(frozen=True, kw_only=True)
class SnapshotTaken(Event):
    """Pictures from within a long epoch; the next ones replace them."""

    type: ClassVar[str] = "snapshot_taken"
    epoch: int
    iteration: int
    elapsed: float
    snapshot: str
    """As of `Evaluated`."""


@dataclass(frozen=True, kw_only=True)
class Message(Event):
    """One line for the reader: ``level`` is info, warning or error."""

    type: ClassVar[str] = "message"
    level: str
    text: str


@dataclass(frozen=True, kw_only=True)
class CommandTaken(Event):
    """The trainer's answer to a command that a viewer left in the run folder."""

    type: ClassVar[str] = "command_taken"
    command: str
    accepted: bool
    text: str
    """What was done, or why not."""


@dataclass(frozen=True, kw_only=True)
class Heartbeat(Event):
    """A sign of life while there is no progress to report, every second or so."""

    type: ClassVar[str] = "heartbeat"
    state: str
    """What the trainer is doing: paused."""


@dataclass(frozen=True, kw_only=True)
class RunFinished(Event):
    """Last line of a run."""

    type: ClassVar[str] = "run_finished"
    status: str
    """finished, stopped-early, time-limit, stopped (by a viewer), interrupted or failed."""
    epochs: int
    iterations: int
    train_loss: float
    val_loss: float
    """Best validation loss."""
    best_epoch: int
    accept_rate: float
    """Over the last epoch."""
    step_size: float
    images_per_second: float
    elapsed: float


KINDS: dict[str, type[Event]] = {
    kind.type: kind
    for kind in (
        *(RunStarted, Progress, Evaluated, SnapshotTaken, Message),
        *(CommandTaken, Heartbeat, RunFinished),
    )
}


def keys(kind: type[Event]) -> tuple[str, ...]:
    """The keys of an event's values on disk, in the order of its fields."""
    return tuple(spec.metadata.get("key", spec.name) for spec in dataclasses.fields(kind))


def plain(event: Event) -> dict[str, Any]:
    """The values of an event under their keys on disk."""
    return {key: getattr(event, name) for key, name in _NAMES[type(event)].items()}


def encode(event: Event) -> str:
    """One line of JSON. Non-finite floats are written as the strings nan, inf, -inf."""
    values = {key: _plain(value) for key, value in plain(event).items()}
    return json.dumps({"schema": SCHEMA_VERSION, "type": event.type, **values}, allow_nan=False)


def decode(line: str | bytes) -> Event | None:
    """The event on one line; None for a line that is torn, foreign or from a newer schema."""
    try:
        values = json.loads(line)
    except _UNDECODABLE:
        return None
    return _from_json(values)


def decode_many(lines: list[bytes]) -> list[Event | None]:
    """`decode` for each line, about twice as fast: one call of the JSON parser for all."""
    try:
        parsed = json.loads(b"[" + b",".join(lines) + b"]")
    except _UNDECODABLE:
        parsed = []
    if len(parsed) != len(lines):  # a bad line among them: find it the slow way
        return [decode(line) for line in lines]
    return [_from_json(values) for values in parsed]


_UNDECODABLE = (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError)


def _from_json(values: Any) -> Event | None:
    """The event that a JSON value describes, or None; see `decode`."""
    try:
        if values.pop("schema") > SCHEMA_VERSION:
            return None
        return _build(KINDS[values.pop("type")], values)
    except _UNDECODABLE:
        return None


_PLAIN: dict[str, type] = {"float": float, "int": int, "bool": bool, "str": str}

# By kind of event: key on disk -> name of the field.
_NAMES = {
    kind: dict(zip(keys(kind), (spec.name for spec in dataclasses.fields(kind)), strict=True))
    for kind in KINDS.values()
}
# By kind of event and key: the plain type that needs no conversion, and the annotation.
_TYPES: dict[type[Event], dict[str, tuple[type | None, str]]] = {
    kind: {
        key: (_PLAIN.get(str(spec.type).removesuffix(" | None")), str(spec.type))
        for key, spec in zip(keys(kind), dataclasses.fields(kind), strict=True)
    }
    for kind in KINDS.values()
}
_DEFAULTS: dict[type[Event], dict[str, Any]] = {
    kind: {
        spec.name: spec.default
        for spec in dataclasses.fields(kind)
        if spec.default is not dataclasses.MISSING
    }
    for kind in KINDS.values()
}
# What `encode` writes: the keys in their order, and the types of their values.
_WRITTEN = {
    kind: (tuple(types), tuple(kind_ for kind_, _ in types.values()))
    for kind, types in _TYPES.items()
}


def _build(kind: type[Event], values: dict[str, Any]) -> Event:
    """An event without its generated ``__init__``, which costs a reader more than the JSON."""
    event = object.__new__(kind)
    names = _NAMES[kind]
    if (tuple(values), tuple(map(type, values.values()))) == _WRITTEN[kind]:
        event.__dict__.update(zip(names.values(), values.values(), strict=True))
        return event
    result = _DEFAULTS[kind].copy()
    for key, value in values.items():
        if key in names:
            kept, annotation = _TYPES[kind][key]
            result[names[key]] = value if type(value) is kept else _typed(value, annotation)
    if len(result) != len(names):
        raise TypeError(f"{kind.type}: a field is missing")
    event.__dict__.update(result)
    return event


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def _typed(value: Any, annotation: str) -> Any:
    """Check a JSON value against the annotation of its field; raise TypeError on a mismatch."""
    if value is None and annotation.endswith("| None"):
        return None
    match annotation.removesuffix(" | None"):
        case "float" if not isinstance(value, (bool, list, dict)):
            return float(value)
        case "int" if isinstance(value, int) and not isinstance(value, bool):
            return value
        case "bool" if isinstance(value, bool):
            return value
        case "str" if isinstance(value, str):
            return value
        case "tuple[float, ...]" if isinstance(value, list):
            return tuple(float(item) for item in value)
    raise TypeError(annotation)
