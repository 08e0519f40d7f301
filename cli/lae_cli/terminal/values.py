"""The present values of a run, in the words that every view uses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from lae_cli.terminal import vocabulary
from lae_cli.terminal.glyphs import Glyphs
from lae_fast.runs.events import Evaluated
from lae_fast.runs.health import accept_band
from lae_fast.runs.state import RunState


class Value(NamedTuple):
    """A label, its value, and what there is to say of it."""

    label: str
    text: str
    note: str = ""
    colour: str = ""
    """Of value and note; none where there is nothing to judge."""


def values(state: RunState, glyphs: Glyphs) -> Iterator[Value]:
    """Every value of a run, the losses first; of a run without a chain, nothing of a chain."""
    now, last = state.progress, state.evaluated
    train, val = now.train_loss if now else None, last.val_loss if last else None
    yield Value(vocabulary.TRAIN_LOSS, vocabulary.loss(train), vocabulary.LOSS_UNIT)
    yield Value(vocabulary.VAL_LOSS, vocabulary.loss(val), vocabulary.LOSS_UNIT)
    at = f"epoch {state.best_epoch}" if state.best_epoch else vocabulary.LOSS_UNIT
    yield Value(vocabulary.BEST, vocabulary.loss(state.best_val_loss), at)
    if state.has_chain:
        yield from _chain(state, glyphs)
    else:
        yield Value(vocabulary.ACCEPTANCE, "-", vocabulary.NO_CHAIN)
    yield Value(vocabulary.GRAD_NORM, vocabulary.number(now.grad_norm if now else None))
    images, steps = (now.images_per_second, now.steps_per_second) if now else (None, None)
    yield Value(vocabulary.IMAGE_RATE, vocabulary.per_second(images))
    if state.has_chain:
        chain = state.setting("steps", int)
        note = "" if chain is None else f"T = {chain}"
        yield Value(vocabulary.STEP_RATE, vocabulary.per_second(steps), note)
    yield Value(vocabulary.MEMORY, vocabulary.size(now.memory_bytes if now else None))


def _chain(state: RunState, glyphs: Glyphs) -> Iterator[Value]:
    now, last = state.progress, state.evaluated
    word, colour, rate = "", "", state.acceptance
    if rate is not None:
        verdict = vocabulary.judge_acceptance(
            rate, state.target_accept, adapts=state.step_size_adapts
        )
        word, colour = f"{verdict.sign} {verdict.word}", verdict.colour
    if not state.mh:
        yield Value(vocabulary.ACCEPTANCE, "all", "MH is off")
    label = vocabulary.ACCEPTANCE if state.mh else vocabulary.WOULD_BE
    yield Value(label, vocabulary.rate(rate), word, colour)
    low, high = accept_band(state.target_accept)
    yield Value(vocabulary.TARGET, f"{low:.2f}{glyphs.dash}{high:.2f}")
    step = vocabulary.scientific(now.step_size if now else None)
    yield Value(vocabulary.STEP_SIZE, step, "adapted" if state.step_size_adapts else "fixed")
    check = state.checked
    ess, rhat = (check.ess_per_step, check.split_rhat) if check else (None, None)
    note = _epochs_ago(check, last) if check else ("not measured" if last else "")
    for name, value in ((vocabulary.ESS, ess), (vocabulary.RHAT, rhat)):
        yield Value(name, vocabulary.number(value), note)


def _epochs_ago(check: Evaluated, last: Evaluated | None) -> str:
    """How old a check of the chain is; nothing if it is the newest evaluation's own."""
    count = last.epoch - check.epoch if last else 0
    return f"{count} epoch{'s' if count > 1 else ''} ago" if count > 0 else ""
