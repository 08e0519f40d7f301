"""``lae train``: parse, train, show."""

from __future__ import annotations

import dataclasses
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lae_cli import exits
from lae_cli.processes import torchrun
from lae_cli.progress import training as reporters
from lae_cli.progress.interrupts import Interrupts
from lae_cli.shared.options import (
    LARGEST,
    GroupedCommand,
    GroupedOption,
    given_settings,
    setting_options,
)
from lae_cli.shared.results import print_result
from lae_fast import runs
from lae_fast.config import CHANGEABLE, TrainConfig, settings
from lae_fast.errors import ConfigError

if TYPE_CHECKING:
    from lae_fast.ranks import Ranks

_CONFIG = GroupedOption(
    ["--config", "config_file"],
    type=click.Path(),
    metavar="FILE",
    group="Run",
    help="TOML file of settings; LAE_* variables and flags come before it.",
)
_RESUME = GroupedOption(
    ["--resume"],
    metavar="RUN",
    group="Run",
    help="Continue this run from its last saved state, as if it had never stopped.",
)
_JSON = click.Option(["--json", "as_json"], is_flag=True, help="Result as one JSON object.")
_DASHBOARD = click.Option(
    ["--dashboard"], is_flag=True, help="Train in the background and open the dashboard on it."
)
_NPROC = GroupedOption(
    ["--nproc"],
    type=click.IntRange(1, LARGEST),
    default=1,
    metavar="INT",
    group="Run",
    help="Processes of this machine that share each batch, as `torchrun --nproc-per-node` starts "
    "them.  [default: 1]",
)
_QUIET = click.Option(["--quiet", "-q"], is_flag=True, help="Nothing on stderr but errors.")


@click.command(
    cls=GroupedCommand,
    params=[*setting_options(), _CONFIG, _RESUME, _NPROC, _JSON, _QUIET, _DASHBOARD],
)
def train(
    config_file: str | None,
    resume: str | None,
    nproc: int,
    as_json: bool,
    quiet: bool,
    dashboard: bool,
    **_: object,
) -> None:
    """Train a Langevin autoencoder and watch it learn.

    Progress goes to stderr: a live picture on a terminal, sparse lines on a pipe. The result goes
    to stdout. Every setting can also stand in a TOML file (--config) or in the environment
    (LAE_STEPS=50).
    """
    ctx = click.get_current_context()
    config, run = _settings(given_settings(ctx), config_file, resume)
    if dashboard:
        if run is not None:
            raise click.UsageError("--dashboard starts a new run: drop --resume, then `lae dash`")
        if nproc > 1:
            raise click.UsageError("--dashboard watches one process: drop --nproc, then `lae dash`")
        if as_json or quiet:
            raise click.UsageError("--dashboard leaves no result to print: drop --json and --quiet")
        ctx.exit(_in_background(config, given_settings(ctx), config_file))
    if nproc > 1 and not torchrun.is_child():
        ctx.exit(torchrun.launch(_words(ctx, config, resume), nproc))
    from lae_fast.ranks import join

    with join(config.device) as ranks:
        if ranks.leads:
            ctx.exit(_lead(config, run, ranks, as_json=as_json, quiet=quiet))
        _follow(config, run, ranks)


def _lead(
    config: TrainConfig, run: Path | None, ranks: Ranks, *, as_json: bool, quiet: bool
) -> int:
    """Train and show it; the exit code."""
    from lae_fast.train import StopRequest
    from lae_fast.train import train as run_training

    reporter = reporters.choose(config, quiet=quiet)
    code = exits.OK
    try:
        with reporter:
            stop = StopRequest()
            with Interrupts(stop.request, reporter.note) as interrupts:
                for event in run_training(config, stop=stop, resume=run, ranks=ranks):
                    reporter(event)
            code = interrupts.exit_code
    finally:
        print_result(reporter.view, as_json=as_json)
    status = reporter.view.finished.status if reporter.view.finished else ""
    return code or {"interrupted": exits.INTERRUPTED, "failed": exits.FAILED}.get(status, 0)


def _follow(config: TrainConfig, run: Path | None, ranks: Ranks) -> None:
    """Train with the first rank, in silence, until it says stop."""
    from lae_fast.train import train as run_training

    torchrun.ignore_signals()
    for _ in run_training(config, resume=run, ranks=ranks):
        pass


def _words(ctx: click.Context, config: TrainConfig, resume: str | None) -> list[str]:
    """The command line of each of several processes."""
    from lae_cli.processes import background

    given = given_settings(ctx)
    if resume is None:
        given = torchrun.name_for(config, given)
    words = background.command(given, ctx.params["config_file"])
    words += [] if resume is None else ["--resume", resume]
    words += ["--json"] if ctx.params["as_json"] else []
    return words + (["--quiet"] if ctx.params["quiet"] else [])


def _settings(
    flags: dict[str, Any], file: str | None, resume: str | None
) -> tuple[TrainConfig, Path | None]:
    """The settings, and the run folder to continue if one is named."""
    if resume is None:
        config = settings.resolve(flags, file=file)
        resume = torchrun.run_to_continue(config) if torchrun.was_restarted() else None
        if resume is None:
            return config, None
        flags, file = {name: flags[name] for name in flags if name in CHANGEABLE}, None
    if file is not None:
        raise ConfigError("--resume takes a run's own settings; drop --config")
    root = flags.get("run_root") or settings.resolve({}).run_root
    run = runs.find(root, resume)
    config = settings.resumed(runs.read_config(run), flags)
    return dataclasses.replace(config, run_root=str(run.parent), name=run.name), run


def _in_background(config: TrainConfig, given: dict[str, Any], config_file: str | None) -> int:
    """Train in another process, show it here, and say how to come back; the exit code."""
    from lae_cli.dashboard import launch
    from lae_cli.processes import background

    launch.need_terminal()
    reporters.say("starting the training; Ctrl-C ends it")
    training = background.Background(config, given, config_file)
    try:
        run = training.wait_for_run()
    except background.EarlyEndError as error:
        click.echo(error.text, nl=False, err=True)
        return error.code
    launch.run(Path(config.run_root), (run,))
    code = training.exit_code
    for line in _farewell(run, config.run_root, ended=code is not None):
        reporters.say(line)
    return code or exits.OK


def _farewell(run: Path, root: str, *, ended: bool) -> list[str]:
    usual = root == TrainConfig.run_root
    where = shlex.quote(run.name if usual else os.path.join(root, run.name))
    if ended:
        return [f"{run} has ended; `lae runs show {where}` shows what it came to"]
    return [
        f"the training goes on in {run}",
        f"  lae dash {where}       comes back to it",
        f"  lae runs stop {where}  stops it, weights kept",
    ]
