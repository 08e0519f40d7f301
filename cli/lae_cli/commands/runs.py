"""``lae runs``: list, show, rename, annotate, stop, remove and export run folders."""

from __future__ import annotations

import dataclasses
import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lae_cli.shared.completions import complete_runs
from lae_cli.shared.options import json_option, setting_option
from lae_cli.shared.results import Result, present
from lae_cli.terminal import vocabulary
from lae_fast import runs as store
from lae_fast.config import TrainConfig
from lae_fast.config.settings import flag_of
from lae_fast.errors import RunError, printable
from lae_fast.runs import Summary

if TYPE_CHECKING:
    from lae_cli.terminal.tables import FittingTable

TENSORBOARD = "tensorboard"
"""A format of `lae runs export`, and the folder that it makes in a run folder."""
ANSWER_WITHIN = 15.0
"""Seconds to wait for a trainer's answer; an iteration may take a few."""
_FIRST = (
    ("lae runs ls", "list all runs"),
    ("lae runs show latest", "its result, and the settings that are not default"),
    ("lae runs stop latest", "stop a training and save its weights"),
    ("lae runs export latest", "its events as CSV or JSON"),
    ("lae runs --help", "every command on runs"),
)
_run_argument = click.argument("run", shell_complete=complete_runs)
_where_option = click.option(
    "--where",
    metavar="CONDITION",
    multiple=True,
    help="Only runs like status=crashed, epochs<2 or age>7d; may be repeated, and all must hold.  "
    "[default: none]",
)
_root_option = setting_option("run_root")


@click.group(invoke_without_command=True)
@click.pass_context
def runs(ctx: click.Context) -> None:
    """List, show, rename, stop, remove and export run folders.

    RUN is a name, the unique beginning of one, a path, or `latest`.

    \b
    Example:
      lae runs ls
      lae runs show latest
    """
    if ctx.invoked_subcommand is None:
        from lae_cli.shared.start import show_start

        show_start("`lae runs` looks after the folders that trainings leave.", _FIRST)


@runs.command("ls")
@_root_option
@_where_option
@json_option
def list_command(run_root: str, where: tuple[str, ...], as_json: bool) -> None:
    """List the runs, newest first.

    \b
    Example:
      lae runs ls --where model=lae --where 'best_val_loss<100'
    """
    summaries = store.list_runs(run_root)
    if where:
        summaries = store.matching(summaries, where)
    shown = [_table(summaries)] if summaries and not as_json else []
    present(Result([_values(summary) for summary in summaries], shown), as_json=as_json)
    if as_json:
        return
    if not summaries and where:
        click.echo(f"no run in {printable(run_root)} is like that", err=True)
    elif not summaries:
        click.echo(f"no runs in {printable(run_root)}; `lae train` makes one", err=True)
    for path in store.sweeps(Path(run_root)):
        click.echo(
            f"{printable(path.name)} is a sweep; `lae runs ls --run-root "
            f"{shlex.quote(printable(path))}` lists its runs",
            err=True,
        )


@runs.command("show")
@click.argument("run", default="latest", shell_complete=complete_runs)
@_root_option
@json_option
def show_command(run: str, run_root: str, as_json: bool) -> None:
    """Show the result of RUN and the settings that are not default.

    A note about RUN is shown, too. Without RUN, the command shows the newest run.

    \b
    Example:
      lae runs show latest --json
    """
    path = store.find(run_root, run)
    summary, config, note = store.summarise(path), store.read_config(path), store.read_note(path)
    noted = [("" if place else "note", line) for place, line in enumerate(note.splitlines())]
    rows = [*_rows(summary), *noted, *_changed(config)]
    lines = [f"{label:<18}{value}" for label, value in rows]
    values = _values(summary) | {"note": note or None, "config": config}
    present(Result(values, lines), as_json=as_json)


@runs.command("rename")
@_run_argument
@click.argument("name")
@_root_option
def rename_command(run: str, name: str, run_root: str) -> None:
    """Give RUN the name NAME.

    \b
    Example:
      lae runs rename latest baseline
    """
    path = store.rename(store.find(run_root, run), name)
    click.echo(f"renamed to {printable(path)}", err=True)


@runs.command("note")
@_run_argument
@click.argument("text", required=False)
@_root_option
def note_command(run: str, text: str | None, run_root: str) -> None:
    """Note TEXT about RUN, or print what is noted.

    TEXT takes the place of the earlier note; an empty one removes it. `lae runs show` shows it.

    \b
    Example:
      lae runs note latest "half the learning rate, same result"
    """
    path = store.find(run_root, run)
    if text is not None:
        store.write_note(path, text)
    elif note := store.read_note(path):
        present(Result(note, note.splitlines()), as_json=False)


@runs.command("stop")
@_run_argument
@_root_option
@click.option(
    "--after",
    type=click.Choice(store.STOP_AFTER),
    default="now",
    show_default=True,
    help="Stop after this iteration (now) or at the end of the epoch.",
)
def stop_command(run: str, run_root: str, after: str) -> None:
    """Stop the training of RUN and save its weights.

    The command waits until the trainer has answered.

    \b
    Example:
      lae runs stop latest --after epoch
    """
    path = store.find(run_root, run)
    shown = printable(path.name)
    summary = store.summarise(path, quick=True)
    if not summary.active:
        raise RunError(f"{shown} has already ended ({summary.status}), so there is nothing to stop")
    before = store.last_answer(path, "stop")
    store.send_command(path, "stop", after=after)
    deadline = time.monotonic() + ANSWER_WITHIN
    while (answer := store.last_answer(path, "stop")) == before:
        if time.monotonic() > deadline:
            raise RunError(
                f"{shown} has not answered within {ANSWER_WITHIN:.0f} s; the trainer will stop as "
                "soon as it finds the request in the run folder"
            )
        time.sleep(0.05)
    click.echo(f"{shown}: {answer.text if answer else ''}", err=True)


@runs.command("rm")
@click.argument("names", metavar="[RUN]...", nargs=-1, shell_complete=complete_runs)
@_root_option
@_where_option
@click.option("--yes", "-y", is_flag=True, help="Remove without asking.")
@click.option("--force", is_flag=True, help="Remove runs that are still being written as well.")
def remove_command(
    names: tuple[str, ...], run_root: str, where: tuple[str, ...], yes: bool, force: bool
) -> None:
    """Remove run folders and everything in them.

    Name the runs, or say which with --where; runs that are still being written stay.

    \b
    Example:
      lae runs rm digits-lae-20260101-120000 --yes
      lae runs rm --where status=crashed --where 'epochs<2'
    """
    if bool(names) == bool(where):
        raise click.UsageError("name the runs to remove, or say which with --where")
    paths = list(dict.fromkeys(store.find(run_root, name) for name in names))
    if where:
        found = store.matching(store.list_runs(run_root), where)
        paths = [summary.path for summary in found if force or not summary.active]
    if not paths:
        click.echo(f"no run in {printable(run_root)} is like that; nothing was removed", err=True)
        return
    if not yes:
        shown = ", ".join(map(printable, paths))
        click.confirm(f"Remove {shown} and everything in it?", abort=True, err=True)
    for path in paths:
        store.remove(path, force=force)
        click.echo(f"removed {printable(path)}", err=True)


@runs.command("export")
@_run_argument
@_root_option
@click.option(
    "--format",
    "fmt",
    type=click.Choice([*store.EXPORT_FORMATS, TENSORBOARD]),
    default="csv",
    show_default=True,
    help="Write a table with one row per event, one JSON object with the settings, or a log for "
    "TensorBoard.",
)
@click.option(
    "--out",
    metavar="FILE",
    help="Write to this file, or to this folder (tensorboard).  [default: stdout, or tensorboard "
    "in the run folder]",
)
def export_command(run: str, run_root: str, fmt: str, out: str | None) -> None:
    """Export the events of RUN.

    \b
    Example:
      lae runs export latest --format csv --out losses.csv
    """
    path = store.find(run_root, run)
    if fmt == TENSORBOARD:
        _export_tensorboard(path, out)
        return
    if out is None:
        store.export(path, fmt, sys.stdout)
        return
    if not store.is_run(path):  # before the output file is touched
        raise RunError(f"{path} is not a run folder")
    with open(out, "w", encoding="utf-8", newline="") as file:
        store.export(path, fmt, file)


def _export_tensorboard(run: Path, out: str | None) -> None:
    from lae_fast.analysis.tensorboard import write_log
    from lae_fast.runs.files import own_folder

    folder = Path(out) if out is not None else own_folder(run, TENSORBOARD)
    if out is None:
        for old in folder.glob("events.out.tfevents.*"):  # of this command, earlier in the run
            old.unlink()
    count = write_log(run, folder)
    click.echo(
        f"wrote {count} events; `tensorboard --logdir {shlex.quote(printable(folder))}` shows them",
        err=True,
    )


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


def _table(summaries: list[Summary]) -> FittingTable:
    from lae_cli.terminal.console import plain
    from lae_cli.terminal.tables import FittingTable

    words = ("status", "data", "model")
    # A name made up by the program says data and model already.
    table = FittingTable(left=words, dispensable=("data", "model", "age", "epochs"))
    loss = vocabulary.val_heading(s.val_quantity for s in summaries if s.best_val_loss is not None)
    for heading in ("run", *words, "epochs", loss, "accept", "age"):
        table.add_column(heading)
    for summary in summaries:
        table.add_row(
            summary.name or "?",
            plain(summary.status, vocabulary.status_colour(summary.status)),
            Path(summary.dataset).name if summary.dataset else "-",
            _model(summary),
            str(summary.epochs or "-"),
            vocabulary.val_loss(summary.best_val_loss, summary.val_quantity, loss),
            vocabulary.rate(summary.accept_rate),
            _age(summary),
        )
    return table


def _rows(summary: Summary) -> list[tuple[str, str]]:
    best = f" {vocabulary.LOSS_UNIT}"
    best += f", {summary.val_quantity}" if summary.val_quantity else ""
    best += f" (epoch {summary.best_epoch})" if summary.best_epoch else ""
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
    """The settings that differ from the defaults."""
    defaults = TrainConfig().to_dict()
    changed = {k: v for k, v in config.items() if k in defaults and v != defaults[k]}
    return [(flag_of(name).removeprefix("--"), str(value)) for name, value in changed.items()]
