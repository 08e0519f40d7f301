"""A run as lines of text: its values, its status, and what was said last."""

from __future__ import annotations

import time

from rich.text import Text

from lae_cli.dashboard.following.frame import Frame
from lae_cli.terminal import values as words
from lae_cli.terminal import vocabulary
from lae_cli.terminal.console import plain
from lae_cli.terminal.glyphs import Glyphs
from lae_cli.terminal.sparkline import bar
from lae_fast.runs.events import CommandTaken

LABEL, VALUE = 11, 9


def values(frame: Frame, glyphs: Glyphs, width: int) -> Text:
    """Every value of a run, one per line; progress, time and machine below."""
    text = Text(no_wrap=True, overflow="crop")
    for value in words.values(frame, glyphs):
        _add(text, *value)
    started, finished, now = frame.started, frame.finished, frame.progress
    done = finished.epochs if finished else (now.epoch if now else 0)
    most = started.max_epochs if started else 0
    room = max(0, width - LABEL - VALUE - 2)
    full, rest = bar(frame.share, room, unicode=glyphs.unicode)
    text.append(f"{'epoch':<{LABEL}}", style="dim")
    text.append(f"{f'{done}/{most}':>{VALUE}}  ", style="bold")
    text.append(full, style=vocabulary.ACCENT).append(f"{rest}\n", style="dim")
    left = frame.seconds_left if now else None
    note = "" if left is None else f"{vocabulary.duration(max(0.0, left))} left"
    _add(text, "time", vocabulary.duration(frame.elapsed), note)
    text.append(f"{'device':<{LABEL}}", style="dim")
    text.append(plain(started.device if started else "-"))
    if started is not None:
        text.append(f"\n{'engine':<{LABEL}}", style="dim").append(plain(started.engine))
    return text


def _add(text: Text, label: str, value: str, note: str = "", style: str = "") -> None:
    text.append(f"{label:<{LABEL}}", style="dim")
    text.append(f"{value:>{VALUE}}", style=f"bold {style}")
    text.append(f"  {note}\n", style=style or "dim")


def status_line(frame: Frame, glyphs: Glyphs, extra: str = "") -> Text:
    """Which run this is, how it is, and what is wrong with it."""
    text = Text(no_wrap=True, overflow="ellipsis" if glyphs.unicode else "crop")
    mark = "● " if glyphs.unicode else "* "
    text.append(mark, style=vocabulary.run_colour(frame.path.name))
    text.append(frame.name, style="bold").append("  ")
    text.append(plain(frame.status, f"bold {vocabulary.status_colour(frame.status)}"))
    for finding in frame.findings():
        colour = vocabulary.BAD if finding.essential else vocabulary.WARN
        text.append("  ").append(f" {finding.name} ", style=f"bold reverse {colour}")
        text.append(" ").append(plain(finding.text, colour))
    if extra:
        text.append("  ").append(plain(extra, f"bold {vocabulary.ACCENT}"))
    data = frame.setting("dataset", str) or ""
    numbers = frame.setting("latent_dim", int), frame.setting("steps", int)
    model = vocabulary.model_words(frame.model, *numbers, frame.setting("mh", bool))
    text.append("  ").append(plain(f"{data} {model}".strip(), "dim"))
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
