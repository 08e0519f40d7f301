"""``lae runs``: list, show, stop, remove and export run folders."""

from __future__ import annotations

import dataclasses
import shlex
import sys
import time
from pathlib import Path
from typing import Any

import click

from lae_cli.shared.results import json_line
from lae_cli.terminal import vocabulary
from lae_fast import runs as store
from lae_fast.config import TrainConfig, settings
from lae_fast.errors import printable
from lae_fast.runs import Summary

_ROOT = click.option(
    "--run-root",
    metavar="DIR",
    default=None,
    help="Folder that holds the run folders.  [default: runs]",
)


ANSWER_WITHIN = 15.0
"""Seconds to wait for a trainer; an iteration may take a few."""


@click.group()
def runs() -> None:
    """List, show, stop, remove and export run folders.

    RUN is a name, the unique beginning of one, a path, or `latest`.
    """


@runs.command("ls")
@_ROOT
@click.option("--json", "as_json", is_flag=True, help="One JSON array.")
def list_command(run_root: str | None, as_json: bool) -> None:
    """List the runs, newest first."""
    root = _root(run_root)
    summaries = store.list_runs(root)
    if as_json:
        click.echo(json_line([_values(summary) for summary in summaries]))
    elif not summaries:
        click.echo(f"no runs in {printable(root)}; `lae train` makes one", err=True)
    else:
        _print_table(summaries)
    for path in [] if as_json else store.sweeps(Path(root)):
        click.echo(
            f"{printable(path.name)} is a sweep; `lae runs ls --run-root "
            f"{shlex.quote(printable(str(path)))}` lists its runs",
            err=True,
        )


@runs.command("show")
@click.argument("run")
@_ROOT
@click.option("--json", "as_json", is_flag=True, help="One JSON object, settings included.")
def show_command(run: str, run_root: str | None, as_json: bool) -> None:
    """Show what RUN came to, and the settings that differ from the defaults."""
    path = store.find(_root(run_root), run)
    summary, config = store.summarise(path), store.read_config(path)
    if as_json:
        click.echo(json_line(_values(summary) | {"config": config}))
        return
    for label, value in [*_rows(summary), *_changed(config)]:
        click.echo(printable(f"{label:<18}{value}"))


@runs.command("stop")
@click.argument("run")
@_ROOT
@click.option(
    "--after",
    type=click.Choice(store.STOP_AFTER),
    default="now",
    show_default=True,
    help="Let the epoch end first, or only the iteration.",
)
def stop_command(run: str, run_root: str | None, after: str) -> None:
    """Stop the training of RUN; its weights are kept.

    Waits until the trainer has answered.
    """
    path = store.find(_root(run_root), run)
    shown = printable(path.name)
    status = store.summarise(path, quick=True)
    if not status.active:
        raise store.RunError(f"{shown} is {status.status}: no trainer is there to be stopped")
    before = store.last_answer(path, "stop")
    store.send_command(path, "stop", after=after)
    deadline = time.monotonic() + ANSWER_WITHIN
    while (answer := store.last_answer(path, "stop")) == before:
        if time.monotonic() > deadline:
            raise store.RunError(
                f"{shown} has not answered within {ANSWER_WITHIN:.0f} s; the request stays in its "
                "folder for the trainer to find"
            )
        time.sleep(0.05)
    click.echo(f"{shown}: {answer.text if answer else ''}", err=True)


@runs.command("rm")
@click.argument("names", metavar="RUN...", nargs=-1, required=True)
@_ROOT
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@click.option("--force", is_flag=True, help="Also a run that is still being written.")
def remove_command(names: tuple[str, ...], run_root: str | None, yes: bool, force: bool) -> None:
    """Remove run folders and all they hold."""
    root = _root(run_root)
    paths = list(dict.fromkeys(store.find(root, name) for name in names))
    if not yes:
        shown = ", ".join(printable(str(path)) for path in paths)
        click.confirm(f"Remove {shown} and all that is in there?", abort=True, err=True)
    for path in paths:
        store.remove(path, force=force)
        click.echo(f"removed {printable(str(path))}", err=True)


@runs.command("export")
@click.argument("run")
@_ROOT
@click.option(
    "--format",
    "fmt",
    type=click.Choice(store.EXPORT_FORMATS),
    default="csv",
    show_default=True,
    help="A table of events, or one object with the settings.",
)
@click.option("--out", metavar="FILE", help="Where to write; stdout when not given.")
def export_command(run: str, run_root: str | None, fmt: str, out: str | None) -> None:
    """Export the events of RUN."""
    path = store.find(_root(run_root), run)
    if out is None:
        store.export(path, fmt, sys.stdout)
        return
    if not store.is_run(path):  # before the output file is touched
        raise store.RunError(f"{printable(str(path))} is not a run folder")
    with open(out, "w", encoding="utf-8", newline="") as file:
        store.export(path, fmt, file)


def _root(given: str | None) -> str:
    """The run root by the rules of training: flag over environment over default."""
    return settings.resolve({} if given is None else {"run_root": given}).run_root


def _values(summary: Summary) -> dict[str, Any]:
    values = dataclasses.asdict(summary)
    name = summary.name.encode(errors="surrogateescape").decode(errors="replace")
    return values | {"name": name, "path": str(summary.path.parent / name)}


def _model(summary: Summary) -> str:
    if summary.dataset is None:
        return "-"
    return vocabulary.model_words(summary.model, summary.latent_dim, summary.steps, summary.mh)


def _age(summary: Summary) -> str:
    return vocabulary.age(None if summary.started is None else time.time() - summary.started)


def _print_table(summaries: list[Summary]) -> None:
    from rich import box
    from rich.table import Table

    from lae_cli.terminal.console import has_unicode, make_console, plain

    unicode = has_unicode(sys.stdout)
    table = Table(box=box.SIMPLE_HEAD if unicode else box.ASCII2, pad_edge=False)
    overflow: Any = "ellipsis" if unicode else "crop"
    table.add_column("run", overflow="fold", min_width=12)
    table.add_column("status", no_wrap=True)
    table.add_column("data", no_wrap=True, overflow=overflow)
    table.add_column("model", no_wrap=True, overflow=overflow)
    for heading in ("epochs", vocabulary.VAL_LOSS, "accept", "age"):
        table.add_column(heading, justify="right", no_wrap=True, overflow=overflow)
    for summary in summaries:
        table.add_row(
            plain(summary.name or "?"),
            plain(summary.status, vocabulary.STATUS_COLOURS.get(summary.status, "")),
            plain(Path(summary.dataset).name if summary.dataset else "-"),
            plain(_model(summary)),
            str(summary.epochs or "-"),
            vocabulary.loss(summary.best_val_loss),
            vocabulary.rate(summary.accept_rate),
            _age(summary),
        )
    console = make_console()
    if not console.is_terminal:
        console.width = max(120, console.width)  # a pipe has no edge to cut a name at
    console.print(table)


def _rows(summary: Summary) -> list[tuple[str, str]]:
    best = f" {vocabulary.LOSS_UNIT}" + (
        f" (epoch {summary.best_epoch})" if summary.best_epoch else ""
    )
    rows = [
        ("run", str(summary.path)),
        ("status", summary.status),
        ("started", f"{_local_time(summary.started)} ({_age(summary)} ago)"),
        ("data", summary.dataset or "-"),
        ("model", _model(summary)),
        ("device", summary.device or "-"),
        ("epochs", str(summary.epochs)),
        ("elapsed", vocabulary.duration(summary.elapsed)),
        ("best val loss", vocabulary.loss(summary.best_val_loss) + best),
        (vocabulary.TRAIN_LOSS, f"{vocabulary.loss(summary.train_loss)} {vocabulary.LOSS_UNIT}"),
        (vocabulary.ACCEPTANCE, vocabulary.rate(summary.accept_rate)),
        (vocabulary.STEP_SIZE, vocabulary.scientific(summary.step_size)),
        ("speed", f"{vocabulary.per_second(summary.images_per_second)} images/s"),
    ]
    if summary.skipped:
        rows.append(("unreadable", f"{summary.skipped} lines of the event log"))
    return rows


def _local_time(moment: float | None) -> str:
    try:
        return "-" if moment is None else time.strftime("%Y-%m-%d %H:%M", time.localtime(moment))
    except (OverflowError, ValueError, OSError):
        return "-"


def _changed(config: dict[str, Any]) -> list[tuple[str, str]]:
    """The settings that are not the default."""
    defaults = TrainConfig().to_dict()
    changed = {k: v for k, v in config.items() if k in defaults and v != defaults[k]}
    return [(name.replace("_", "-"), str(value)) for name, value in changed.items()]
