"""``lae sweep``: run the points of a file and show their results."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import click

from lae_cli import exits
from lae_cli.progress import sweep as sweep_progress
from lae_cli.progress import training as reporters
from lae_cli.progress.interrupts import Interrupts
from lae_cli.shared import sweep_results
from lae_cli.shared.options import (
    given_settings,
    json_option,
    quiet_option,
    setting_option,
    whole,
)
from lae_cli.shared.results import Result, present
from lae_fast.errors import ConfigError
from lae_fast.sweeps import drive, executor, spec, table
from lae_fast.sweeps.folder import FAILED, Point, SweepFolder


@click.command()
@click.argument("file", metavar="FILE.toml", type=click.Path(path_type=Path))
@click.option(
    "--on",
    "place",
    type=click.Choice(executor.PLACES),
    default="auto",
    show_default=True,
    help="Run on this machine's cores, a Slurm cluster or Ray; auto takes what is there.",
)
@whole("--jobs", metavar="N", help="Runs at a time; they share the cores.  [default: one per core]")
@click.option("--retry-failed", is_flag=True, help="Also run points again that failed.")
@click.option("--dry-run", is_flag=True, help="List the points and run none.")
@click.option("--show", is_flag=True, help="Print the table as it stands and run nothing.")
@click.option("--detach", is_flag=True, help="With --on slurm: submit the jobs and return.")
@setting_option("run_root")
@setting_option("data_dir")
@click.option(
    "--csv",
    "csv_file",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Also write one line per point to this file.  [default: none]",
)
@json_option
@quiet_option
def sweep(
    file: Path,
    place: str,
    jobs: int | None,
    retry_failed: bool,
    dry_run: bool,
    show: bool,
    detach: bool,
    csv_file: Path | None,
    as_json: bool,
    quiet: bool,
    **_: object,
) -> None:
    """Train every point of a sweep file and tabulate the results.

    FILE.toml asks for a grid or random draws over any option of `lae train`, and for seeds. Each
    point gets a run folder in RUN_ROOT/NAME. Run the same command again to continue: finished
    points are skipped, and interrupted ones resume where they stopped. docs/guide/sweeps.md
    describes the file.

    \b
    Example:
      lae sweep steps.toml --on local --jobs 2 --csv steps.csv
    """
    found = spec.read(file, given_settings(click.get_current_context()))
    if csv_file is not None and not csv_file.parent.is_dir():
        raise ConfigError(f"--csv: there is no folder {csv_file.parent}; make it first")
    folder = SweepFolder(found.root)
    points = folder.merge(found)
    if dry_run:
        present(sweep_results.list_points(drive.states(folder, points)), as_json=as_json)
        return
    code = exits.OK
    if not show:
        chosen = executor.choose() if place == "auto" else place
        if detach and chosen != "slurm":
            raise ConfigError(f"--detach is for Slurm, not {chosen}; drop it or use --on slurm")
        options = {"slurm": found.slurm, "ray": found.ray}.get(chosen, {})
        code = _run(folder, points, (chosen, jobs, options), retry_failed, detach, quiet)
    states = drive.states(folder, points)
    names = table.varied(states, found.varied)
    if csv_file is not None:
        with open(csv_file, "w", encoding="utf-8", newline="") as out:
            table.write_csv(states, names, out)
    values = sweep_results.results_of(found, states, names) if as_json else None
    lines = [] if as_json or detach else sweep_results.draw_table(states, names)
    present(Result(values, lines), as_json=as_json)
    if not show and not detach:
        sweep_results.say_what_is_left(folder, states)
        code = code or (exits.OK if all(s.done for s in states if s.point.listed) else exits.FAILED)
    click.get_current_context().exit(code)


def _run(
    folder: SweepFolder,
    points: list[Point],
    where: tuple[str, int | None, Any],
    retry_failed: bool,
    detach: bool,
    quiet: bool,
) -> int:
    """Train the points that are left; the exit code of an interrupt, or 0."""
    before = drive.states(folder, points)
    todo = drive.left_to_do(before, retry_failed=retry_failed)
    if not todo:
        if not quiet:
            failed = sum(state.status == FAILED for state in before)
            hint = f"; --retry-failed tries {failed} again" if failed else ""
            reporters.say(f"nothing is left to run in {folder.root}{hint}")
        return exits.OK
    place, jobs, options = where
    drive.check_points(todo, here=place == "local")
    cuda = any(point.config.device != "cpu" for point in todo)
    runner = executor.make(place, jobs, folder.root, options, cuda=cuda)
    with folder.lock():
        folder.write(points)
        reporter = sweep_progress.choose(folder, before, len(todo), runner.where, quiet=quiet)
        drive.submit(folder, todo, runner)
        if detach:
            reporters.say(
                f"{len(todo)} points submitted. Run `lae sweep FILE` to follow them, or add --show "
                "to print the table once."
            )
            return exits.OK
        with reporter.display, Interrupts(lambda _: None, reporter.note) as interrupts:
            looks = drive.watch(folder, todo, runner, lambda: interrupts.exit_code != exits.OK)
            with contextlib.closing(looks):
                for states in looks:
                    reporter(states)
        return interrupts.exit_code
