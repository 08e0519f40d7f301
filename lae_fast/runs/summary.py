"""One run in one line: what its folder says about itself.

Part of `lae_fast.runs`, where the public names are.
"""

from __future__ import annotations

import os
import socket
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from lae_fast.runs.events import (
    KINDS,
    Evaluated,
    Event,
    Progress,
    RunFinished,
    RunStarted,
    decode,
    decode_many,
)
from lae_fast.runs.files import EVENTS_FILE, open_regular, read_config
from lae_fast.runs.log import EventReader

SILENT_AFTER = 15.0
"""Seconds without a heartbeat (due every 2) after which a run counts as silent."""

_TAIL = 1 << 16
_LOOK_BACK = 16 << 20
_LONGEST_EVENT = 1 << 14


def is_run(path: Path) -> bool:
    """Whether a folder holds a run: settings of ours, or an event log that begins like one."""
    if {"dataset", "latent_dim"} <= read_config(path).keys():
        return True
    return bool(EventReader(path).poll(limit=1))


@dataclass(frozen=True, kw_only=True)
class Summary:
    """One run in one line. None means not known. Losses are nats an image, times seconds."""

    name: str
    path: Path
    status: str
    """starting, running, silent, crashed, a `RunFinished` status, or ``not a run``."""
    model: str | None = None
    dataset: str | None = None
    latent_dim: int | None = None
    steps: int | None = None
    mh: bool | None = None
    epochs: int = 0
    """Epochs completed."""
    best_val_loss: float | None = None
    best_epoch: int | None = None
    train_loss: float | None = None
    accept_rate: float | None = None
    step_size: float | None = None
    images_per_second: float | None = None
    device: str | None = None
    started: float | None = None
    """Unix time."""
    last_event: float | None = None
    """Unix time."""
    elapsed: float | None = None
    skipped: int = 0
    """Lines of the event log that could not be read."""

    @property
    def active(self) -> bool:
        """Whether a trainer may still be writing."""
        return self.status in ("starting", "running", "silent")


@dataclass
class _Story:
    """The last event of each kind, and the best validation."""

    last: dict[str, Event] = field(default_factory=dict)
    best: Evaluated | None = None
    skipped: int = 0


def summarise(run: Path, *, now: float | None = None, quick: bool = False) -> Summary:
    """What a run folder says about itself; never raises for a broken or foreign folder.

    ``quick`` reads only the ends of a long event log, in a millisecond whatever its length:
    unreadable lines in between are not counted, and the best validation of an unfinished run is
    looked for in its last 16 MiB only.
    """
    now = time.time() if now is None else now
    config, story = read_config(run), (_read_ends if quick else _read_story)(run)
    known = {
        "name": run.name,
        "path": run,
        "dataset": _only(config.get("dataset"), str),
        "latent_dim": _only(config.get("latent_dim"), int),
        "steps": _only(config.get("steps"), int),
        "mh": _only(config.get("mh"), bool),
        "skipped": story.skipped,
    }
    if not story.last:
        ours = {"dataset", "latent_dim"} <= config.keys()
        created = _modified(run)
        fresh = created is not None and now - created < 4 * SILENT_AFTER
        status = ("starting" if fresh else "crashed") if ours else "not a run"
        return Summary(**known, status=status, started=created)
    return Summary(**known, **_facts(story), status=_status(story, now))


def _facts(story: _Story) -> dict[str, Any]:
    """The measured fields of `Summary`."""
    started, progress = story.last.get(RunStarted.type), story.last.get(Progress.type)
    evaluated, finished = story.last.get(Evaluated.type), story.last.get(RunFinished.type)
    facts: dict[str, Any] = {"last_event": max(event.time for event in story.last.values())}
    facts["started"] = min(event.time for event in story.last.values())
    if isinstance(started, RunStarted):
        facts |= {"model": started.model, "device": started.device, "started": started.time}
    for event in (progress, evaluated, finished):  # the later kind knows better
        if event is not None:
            names = ("train_loss", "accept_rate", "step_size", "images_per_second", "elapsed")
            facts |= {name: getattr(event, name) for name in names if hasattr(event, name)}
    if isinstance(evaluated, Evaluated):
        facts["epochs"] = evaluated.epoch
    if story.best is not None:
        facts |= {"best_val_loss": story.best.val_loss, "best_epoch": story.best.epoch}
    if isinstance(finished, RunFinished):
        facts |= {"epochs": finished.epochs, "best_val_loss": finished.val_loss}
        facts["best_epoch"] = finished.best_epoch
    return facts


def _read_story(run: Path) -> _Story:
    """Read the log, decoding only the lines a summary needs: ten times faster on long runs."""
    story, heartbeat, reader = _Story(), None, EventReader(run)
    wanted = [f'"type": "{kind}"'.encode() for kind in KINDS if kind != Progress.type]
    progress = f'"type": "{Progress.type}"'.encode()
    with open_regular(run / EVENTS_FILE) as file:
        for line in reader.lines(file) if file is not None else ():
            if progress in line[:64]:
                heartbeat = line
            elif any(kind in line[:64] for kind in wanted) and (event := decode(line)):
                _note(story, event)
            elif line.strip():
                story.skipped += 1
    if heartbeat is not None and (event := decode(heartbeat)):
        _note(story, event)
    return story


def read_ends(run: Path) -> list[Event]:
    """The first event of a run and those in the last 64 KiB of its log, for a first look."""
    with open_regular(run / EVENTS_FILE) as file:
        if file is None:
            return []
        size = os.fstat(file.fileno()).st_size
        head = _complete(os.pread(file.fileno(), _TAIL, 0))
        if size <= _TAIL:
            return _decoded(head)
        tail = _complete(os.pread(file.fileno(), _TAIL, size - _TAIL))
        return _decoded(head[:1] + tail[1:])
    return []


def _decoded(lines: list[bytes]) -> list[Event]:
    return [event for event in decode_many(lines) if event is not None]


def _complete(block: bytes) -> list[bytes]:
    return block.split(b"\n")[:-1]


def _read_ends(run: Path) -> _Story:
    story = _Story()
    for event in read_ends(run):
        _note(story, event)
    if RunFinished.type not in story.last:
        story.best = _last_best(run) or story.best
    return story


def _last_best(run: Path) -> Evaluated | None:
    """The best validation so far: the last event that says so, looked for from the end."""
    mark = b'"best": true'
    with open_regular(run / EVENTS_FILE) as file:
        end = os.fstat(file.fileno()).st_size if file is not None else 0
        least = max(0, end - _LOOK_BACK)
        rest = b""
        while file is not None and end > least:
            begin = max(least, end - _TAIL)  # viewers ask every second: little memory a time
            block = os.pread(file.fileno(), end - begin, begin) + rest
            at = block.rfind(mark)
            if at >= 0 and ((start := block.rfind(b"\n", 0, at)) >= 0 or begin == 0):
                event = decode(block[start + 1 :].split(b"\n", 1)[0])
                return event if isinstance(event, Evaluated) else None
            rest, end = block[:_LONGEST_EVENT], begin
    return None


def _note(story: _Story, event: Event) -> None:
    if isinstance(event, RunStarted):  # a resumed run has not finished after all
        story.last.pop(RunFinished.type, None)
    story.last[event.type] = event
    if isinstance(event, Evaluated) and event.best:
        story.best = event


def _status(story: _Story, now: float) -> str:
    finished, started = story.last.get(RunFinished.type), story.last.get(RunStarted.type)
    if isinstance(finished, RunFinished):
        return finished.status
    here = isinstance(started, RunStarted) and started.host == socket.gethostname()
    if here and not _alive(cast(RunStarted, started).pid):
        return "crashed"
    last = max(event.time for event in story.last.values())
    return "running" if now - last < SILENT_AFTER else "silent"


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return pid > 0


def _only(value: Any, kind: type) -> Any:
    return value if type(value) is kind else None


def _modified(path: Path) -> float | None:
    try:
        return path.stat().st_mtime
    except OSError:
        return None
