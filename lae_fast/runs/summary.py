"""One run in one line: what its folder says about itself.

Part of `lae_fast.runs`, where the public names are.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from lae_fast.runs import health
from lae_fast.runs.events import KINDS, Progress, decode
from lae_fast.runs.files import EVENTS_FILE, is_config, modified, open_regular, read_config
from lae_fast.runs.log import EventReader, last_best, read_ends
from lae_fast.runs.state import RunState


def is_run(path: Path) -> bool:
    """Whether a folder holds a run: settings of ours, or an event log that begins like one."""
    return is_config(read_config(path)) or bool(EventReader(path).poll(limit=1))


@dataclass(frozen=True, kw_only=True)
class Summary:
    """One run in one line. None means not known. Losses are nats per image, times seconds."""

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
    val_quantity: str | None = None
    """What the validation loss is; losses of different quantities do not compare."""
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
        return self.status in health.ACTIVE


def summarise(run: Path, *, now: float | None = None, quick: bool = False) -> Summary:
    """What a run folder says about itself; never raises for a broken or foreign folder.

    ``quick`` reads only the ends of a long event log, in a millisecond whatever its length:
    unreadable lines in between are not counted, and the best validation of an unfinished run is
    looked for in its last 16 MiB only.
    """
    now = time.time() if now is None else now
    state, skipped = (read_state_quickly(run), 0) if quick else _read_state(run)
    return summary_of(run, state, now, skipped)


def status_of(run: Path, state: RunState, now: float) -> str:
    """As of `lae_fast.runs.health.status`; ``not a run`` once the folder is gone."""
    created = modified(run)
    return "not a run" if created is None else health.status(state, now, created=created)


def summary_of(run: Path, state: RunState, now: float, skipped: int = 0) -> Summary:
    """What the state of a run comes to.

    Args:
        run: its folder.
        state: of its log.
        now: Unix time.
        skipped: how many lines of the log could not be read.
    """
    return Summary(
        name=run.name,
        path=run,
        status=status_of(run, state, now),
        model=state.model,
        dataset=state.setting("dataset", str),
        latent_dim=state.setting("latent_dim", int),
        steps=state.setting("steps", int),
        mh=state.setting("mh", bool),
        epochs=state.epochs,
        best_val_loss=state.best_val_loss,
        val_quantity=state.val_quantity,
        best_epoch=state.best_epoch,
        train_loss=state.result("train_loss"),
        accept_rate=state.result("accept_rate"),
        step_size=state.result("step_size"),
        images_per_second=state.result("images_per_second"),
        device=state.started.device if state.started else None,
        started=modified(run) if state.last_event is None else state.began,
        last_event=state.last_event,
        elapsed=state.elapsed,
        skipped=skipped,
    )


def read_state_quickly(run: Path) -> RunState:
    """The state of a run from its settings and the ends of its log."""
    state = RunState(read_config(run))
    for event in read_ends(run):
        state.apply(event)
    if state.finished is None:
        state.best = last_best(run) or state.best
    return state


def _read_state(run: Path) -> tuple[RunState, int]:
    """The state from every line, and how many cannot be read.

    Of progress events only the last before another event is decoded: ten times faster.
    """
    state, reader, skipped, waiting = RunState(read_config(run)), EventReader(run), 0, b""
    wanted = [f'"type": "{kind}"'.encode() for kind in KINDS if kind != Progress.type]
    progress = f'"type": "{Progress.type}"'.encode()
    with open_regular(run / EVENTS_FILE) as file:
        for line in reader.lines(file) if file is not None else ():
            if progress in line[:64]:
                waiting = line
            elif any(kind in line[:64] for kind in wanted) and (event := decode(line)):
                if waiting and (last := decode(waiting)):
                    state.apply(last)
                state.apply(event)
                waiting = b""
            elif line.strip():
                skipped += 1
    if waiting and (last := decode(waiting)):
        state.apply(last)
    return state, skipped
