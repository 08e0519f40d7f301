"""The figures of the live view, as lines of text in the words of ``lae train``."""

from __future__ import annotations

import time

from rich.text import Text

from lae_cli.dashboard.following.health import flags
from lae_cli.dashboard.following.story import Frame
from lae_cli.terminal import vocabulary
from lae_cli.terminal.console import plain
from lae_cli.terminal.glyphs import Glyphs
from lae_cli.terminal.sparkline import bar
from lae_fast.runs.events import CommandTaken

LABEL, VALUE = 11, 9


def figures(frame: Frame, glyphs: Glyphs, width: int) -> Text:
    """Every figure of a run, a line each."""
    text = Text(no_wrap=True, overflow="crop")
    now, last, best = frame.progress, frame.evaluated, frame.best
    train = now.train_loss if now else None
    _add(text, vocabulary.TRAIN_LOSS, vocabulary.loss(train), vocabulary.LOSS_UNIT)
    val = vocabulary.loss(last.val_loss if last else None)
    _add(text, vocabulary.VAL_LOSS, val, vocabulary.LOSS_UNIT)
    lowest = vocabulary.loss(best.val_loss if best else frame.summary.best_val_loss)
    at = best.epoch if best else frame.summary.best_epoch
    _add(text, vocabulary.BEST, lowest, f"epoch {at}" if at else "")
    if frame.chain:
        _chain(text, frame, glyphs)
    else:
        _add(text, vocabulary.ACCEPTANCE, "-", vocabulary.NO_CHAIN)
    _add(text, vocabulary.GRAD_NORM, vocabulary.figure(now.grad_norm if now else None))
    _speed(text, frame)
    _time(text, frame, glyphs, width)
    return text


def _chain(text: Text, frame: Frame, glyphs: Glyphs) -> None:
    now, last = frame.progress, frame.evaluated
    _acceptance(text, frame, glyphs)
    fixed = frame.config.get("step_size", "auto") != "auto"
    step = vocabulary.scientific(now.step_size if now else None)
    _add(text, vocabulary.STEP_SIZE, step, "fixed" if fixed else "adapted")
    not_yet = "not measured" if last else ""
    ess, rhat = (last.ess_per_step, last.split_rhat) if last else (None, None)
    _add(text, vocabulary.ESS, vocabulary.figure(ess), not_yet if ess is None else "")
    _add(text, vocabulary.RHAT, vocabulary.figure(rhat), not_yet if rhat is None else "")


def _add(text: Text, label: str, value: str, note: str = "", style: str = "") -> None:
    text.append(f"{label:<{LABEL}}", style="dim")
    text.append(f"{value:>{VALUE}}", style=f"bold {style}")
    text.append(f"  {note}\n", style=style or "dim")


def _acceptance(text: Text, frame: Frame, glyphs: Glyphs) -> None:
    now, target = frame.progress, frame.target_accept
    rate = now.accept_rate if now else None
    prob = now.accept_prob if now else None
    judged = rate if frame.mh else prob
    verdict = None if judged is None else vocabulary.judge_acceptance(judged, target)
    word, style = (f"{verdict.sign} {verdict.word}", verdict.colour) if verdict else ("", "")
    low, high = vocabulary.accept_band(target)
    if frame.mh:
        _add(text, vocabulary.ACCEPTANCE, vocabulary.rate(rate), word, style)
    else:
        _add(text, vocabulary.ACCEPTANCE, "all", "MH is off")
        _add(text, vocabulary.WOULD_BE, vocabulary.rate(prob), word, style)
    _add(text, "  target", f"{low:.2f}{glyphs.dash}{high:.2f}")


def _speed(text: Text, frame: Frame) -> None:
    now = frame.progress
    images = vocabulary.per_second(now.images_per_second if now else None)
    steps = vocabulary.per_second(now.steps_per_second if now else None)
    chain = frame.config.get("steps")
    _add(text, vocabulary.IMAGE_RATE, images)
    if frame.chain:
        _add(text, vocabulary.STEP_RATE, steps, f"T = {chain}" if isinstance(chain, int) else "")
    memory = now.memory_bytes if now else None
    _add(text, vocabulary.MEMORY, vocabulary.size(memory))


def _time(text: Text, frame: Frame, glyphs: Glyphs, width: int) -> None:
    now, started = frame.progress, frame.started
    done = frame.finished.epochs if frame.finished else (now.epoch if now else 0)
    most = started.max_epochs if started else 0
    total = most * started.iterations_per_epoch if started else 0
    share = now.iteration / total if now and total > 0 else 0.0
    text.append(f"{'epoch':<{LABEL}}", style="dim")
    text.append(f"{f'{done}/{most}':>{VALUE}}  ", style="bold")
    room = max(0, width - LABEL - VALUE - 2)
    full, rest = bar(min(1.0, max(0.0, share)), room, unicode=glyphs.unicode)
    text.append(full, style=vocabulary.ACCENT)
    text.append(f"{rest}\n", style="dim")
    elapsed = frame.finished.elapsed if frame.finished else (now.elapsed if now else None)
    left = None if frame.finished or now is None or now.eta is None else max(0.0, now.eta)
    eta = "" if left is None else f"{vocabulary.duration(left)} left"
    _add(text, "time", vocabulary.duration(elapsed), eta)
    device = plain(started.device if started else "-")
    text.append(f"{'device':<{LABEL}}", style="dim").append(device)
    if started is not None:
        text.append(f"\n{'engine':<{LABEL}}", style="dim").append(plain(started.engine))


def status_line(frame: Frame, glyphs: Glyphs, extra: str = "") -> Text:
    """Which run this is, how it is, and what is wrong with it."""
    text = Text(no_wrap=True, overflow="ellipsis" if glyphs.unicode else "crop")
    mark = "● " if glyphs.unicode else "* "
    text.append(mark, style=vocabulary.run_colour(frame.path.name))
    text.append(frame.name, style="bold").append("  ")
    status = frame.status
    text.append(plain(status, f"bold {vocabulary.STATUS_COLOURS.get(status, '')}"))
    for flag in flags(frame):
        text.append("  ").append(f" {flag.word} ", style=f"bold reverse {flag.colour}")
        text.append(" ").append(plain(flag.text, flag.colour))
    if extra:
        text.append("  ").append(plain(extra, f"bold {vocabulary.ACCENT}"))
    summary = frame.summary
    words = vocabulary.model_words(summary.model, summary.latent_dim, summary.steps, summary.mh)
    text.append("  ").append(plain(f"{summary.dataset or ''} {words}".strip(), "dim"))
    if frame.share_read < 1:
        text.append(f"  reading {frame.share_read:.0%}", style="dim")
    return text


def notes(frame: Frame, lines: int) -> Text:
    """What trainer and viewers said last, newest at the bottom."""
    text = Text()
    styles = {"warning": vocabulary.WARN, "error": f"bold {vocabulary.BAD}"}
    for note in frame.notes[-lines:] if lines > 0 else ():
        clock = time.strftime("%H:%M:%S ", time.localtime(min(max(note.time, 0), 4e9)))
        text.append(clock, style="dim")
        if isinstance(note, CommandTaken):
            style = vocabulary.ACCENT if note.accepted else vocabulary.BAD
            text.append(plain(f"{note.command}: {note.text}", style))
        else:
            text.append(plain(note.text, styles.get(note.level, "dim")))
        text.append("\n")
    return text
