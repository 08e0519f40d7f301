"""``lae sweep``: parse, run the points of a file, show what they came to."""

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
from lae_cli.shared.options import LARGEST
from lae_cli.shared.results import json_line
from lae_fast.errors import ConfigError
from lae_fast.sweeps import drive, executor, spec, table
from lae_fast.sweeps.folder import FAILED, Point, SweepFolder


@click.command()
@click.argument("file", metavar="FILE.toml", type=click.Path(path_type=Path))
@click.option(
    "--on", "place", type=click.Choice(executor.PLACES), default="auto", show_default=True,
    help="This machine's cores, a Slurm cluster, or Ray; auto takes what is there.",
)  # fmt: skip
@click.option(
    "--jobs", type=click.IntRange(1, LARGEST), metavar="N",
    help="Runs at a time, which share the cores.  [default: one a core]",
)  # fmt: skip
@click.option("--retry-failed", is_flag=True, help="Also try points again that failed.")
@click.option("--dry-run", is_flag=True, help="List the points, and run none.")
@click.option("--show", is_flag=True, help="Print the table as it stands, and run nothing.")
@click.option("--detach", is_flag=True, help="Slurm: submit, and do not wait.")
@click.option("--run-root", metavar="DIR", help="Folder of the sweep's folder.  [default: runs]")
@click.option("--data-dir", metavar="DIR", help="Where data sets lie.  [default: data]")
@click.option("--csv", "csv_file", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path),
              help="Also write one line a point.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of the table.")
@click.option("--quiet", "-q", is_flag=True, help="Nothing on stderr but errors.")
def sweep(
    file: Path,
    place: str,
    jobs: int | None,
    retry_failed: bool,
    dry_run: bool,
    show: bool,
    detach: bool,
    run_root: str | None,
    data_dir: str | None,
    csv_file: Path | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Train every point of FILE.toml: a grid or random draws over any option, and seeds.

    Each point is a run folder in RUN_ROOT/NAME. Run the same command again to go on: points that
    are done are skipped, interrupted ones continue as if they had never stopped. The file is
    described in docs/guide/sweeps.md.
    """
    flags = {"run_root": run_root, "data_dir": data_dir}
    found = spec.read(file, {name: value for name, value in flags.items() if value is not None})
    if csv_file is not None and not csv_file.parent.is_dir():
        raise ConfigError(f"--csv: there is no folder {csv_file.parent}")
    folder = SweepFolder(found.root)
    points = folder.merge(found)
    code = exits.OK
    if dry_run:
        sweep_results.print_points(drive.states(folder, points), as_json=as_json)
        return
    if not show:
        chosen = executor.choose() if place == "auto" else place
        if detach and chosen != "slurm":
            raise ConfigError("--detach is for Slurm; on this machine the runs end with the sweep")
        options = {"slurm": found.slurm, "ray": found.ray}.get(chosen, {})
        code = _run(folder, points, (chosen, jobs, options), retry_failed, detach, quiet)
    states = drive.states(folder, points)
    names = table.varied(states, found.varied)
    if csv_file is not None:
        with open(csv_file, "w", encoding="utf-8", newline="") as out:
            table.write_csv(states, names, out)
    if as_json:
        click.echo(json_line(sweep_results.result(found, states, names)))
    elif not detach:
        sweep_results.print_table(states, names)
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
    """Train what is left to do; the exit code of an interrupt, or 0."""
    before = drive.states(folder, points)
    todo = drive.left_to_do(before, retry_failed=retry_failed)
    if not todo:
        if not quiet:
            failed = sum(state.status == FAILED for state in before)
            hint = f"; --retry-failed tries {failed} again" if failed else ""
            reporters.say(f"nothing left to run in {folder.root}{hint}")
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
            reporters.say(f"{len(todo)} points submitted; `lae sweep FILE` watches, --show looks")
            return exits.OK
        with reporter, Interrupts(lambda _: None, reporter.note) as interrupts:
            looks = drive.watch(folder, todo, runner, lambda: interrupts.exit_code != exits.OK)
            with contextlib.closing(looks):
                for states in looks:
                    reporter(states)
        return interrupts.exit_code
