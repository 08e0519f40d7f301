"""``lae train``: parse, train, show."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click

from lae_cli import exits
from lae_cli.processes import torchrun
from lae_cli.progress import training as reporters
from lae_cli.progress.alerts import Alerts
from lae_cli.progress.farewell import farewell, run_words
from lae_cli.progress.interrupts import Interrupts
from lae_cli.shared.completions import complete_runs
from lae_cli.shared.options import (
    GroupedCommand,
    GroupedOption,
    Whole,
    given_settings,
    json_option,
    quiet_option,
    setting_options,
)
from lae_cli.shared.results import Result, present
from lae_cli.terminal import vocabulary
from lae_fast import runs
from lae_fast.config import CHANGEABLE, TrainConfig, settings
from lae_fast.config.presets import PRESETS
from lae_fast.errors import ConfigError, MixedSizesError, printable

if TYPE_CHECKING:
    from lae_cli.progress.view import RunView
    from lae_fast.ranks import Ranks


def _checked_address(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    if value is not None and not value.startswith(("http://", "https://")):
        raise click.BadParameter(f"'{printable(value)}' must begin with http:// or https://")
    if value is not None and (not _host(value) or any(map(str.isspace, value))):
        raise click.BadParameter(f"'{printable(value)}' must name a host and have no spaces")
    return value


def _host(address: str) -> str | None:
    try:
        return urlsplit(address).hostname
    except ValueError:  # brackets that do not match
        return None


_CONFIG = GroupedOption(
    ["--config", "config_file"],
    type=click.Path(),
    metavar="FILE",
    group="Run",
    help="TOML file of settings. LAE_* variables win over it, and flags over both.  "
    "[default: none]",
)
_PRESET = GroupedOption(
    ["--preset"],
    type=click.Choice(list(PRESETS)),
    group="Run",
    help="Published settings: report (Bisht 2023) or paper (Taniguchi et al. 2022). All other "
    "settings win over it.  [default: none]",
)
_RESUME = GroupedOption(
    ["--resume"],
    metavar="RUN",
    shell_complete=complete_runs,
    group="Run",
    help="Resume this run from its last saved state, as if it had never stopped.  "
    "[default: start a new run]",
)
_NPROC = GroupedOption(
    ["--nproc"],
    type=Whole(1),
    default=1,
    metavar="INT",
    group="Run",
    help="Share each batch among this many processes of this machine, as torchrun does.  "
    "[default: 1]",
)


_ALERTS = (
    GroupedOption(
        ["--on-event"],
        metavar="CMD",
        group="Alerts",
        help="Run this shell command when the run diverges, is stuck, failed, crashed, finished "
        "or is better than --better-than; LAE_EVENT, LAE_RUN, LAE_STATUS, LAE_TEXT and "
        "LAE_VAL_LOSS say what happened.  [default: none]",
    ),
    GroupedOption(
        ["--webhook"],
        metavar="URL",
        group="Alerts",
        callback=_checked_address,
        help="POST the same as JSON to this address; Slack and Discord show it.  [default: none]",
    ),
    GroupedOption(
        ["--better-than"],
        type=click.FLOAT,
        metavar="FLOAT",
        group="Alerts",
        help="Validation loss in nats per image below which an alert is given.  [default: none]",
    ),
)


@click.command(
    cls=GroupedCommand,
    params=[*setting_options(), _PRESET, _CONFIG, _RESUME, _NPROC, *_ALERTS],
)
@json_option
@quiet_option
@click.option("--dashboard", is_flag=True, help="Train in the background and open the dashboard.")
def train(
    preset: str | None,
    config_file: str | None,
    resume: str | None,
    nproc: int,
    on_event: str | None,
    webhook: str | None,
    better_than: float | None,
    as_json: bool,
    quiet: bool,
    dashboard: bool,
    **_: object,
) -> None:
    """Train a Langevin autoencoder and watch it learn.

    Progress is drawn live on stderr; a pipe gets a line now and then. The result is on stdout.
    Every setting can also stand in a TOML file (--config) or in the environment (LAE_STEPS=50).

    \b
    Example:
      lae train --dataset mnist --steps 50 --epochs 20
      lae train --resume latest
    """
    ctx = click.get_current_context()
    if better_than is not None and on_event is None and webhook is None:
        raise click.UsageError("--better-than needs --on-event or --webhook to tell you")
    config, run = _settings(given_settings(ctx), preset, config_file, resume)
    if dashboard:
        if run is not None:
            raise click.UsageError(
                "--dashboard starts a new run; drop it, and run `lae dash` in another terminal"
            )
        if nproc > 1:
            raise click.UsageError(
                "--dashboard trains in one process; drop it, and run `lae dash` in another terminal"
            )
        if as_json or quiet:
            raise click.UsageError("--dashboard prints no result; drop --json and --quiet")
        ctx.exit(_in_background(config, _given(ctx), config_file))
    if nproc > 1 and not torchrun.is_child():
        ctx.exit(torchrun.launch(_words(ctx, config, resume), nproc))
    alerts = Alerts(on_event, webhook, better_than, reporters.say)
    from lae_fast.ranks import join

    with join(config.device) as ranks:
        if ranks.leads:
            try:
                code = _lead(config, run, ranks, alerts, as_json=as_json, quiet=quiet)
            except MixedSizesError as error:
                if as_json or quiet or run is not None or not ranks.alone or not _can_ask():
                    raise
                config = dataclasses.replace(config, image_size=_ask_size(error))
                code = _lead(config, run, ranks, alerts, as_json=as_json, quiet=quiet)
            ctx.exit(code)
        _follow(config, run, ranks)


def _can_ask() -> bool:
    return sys.stdin.isatty() and sys.stderr.isatty()


def _ask_size(error: MixedSizesError) -> int:
    """Pixels per side, from the user at the terminal; ``--image-size`` answers in advance."""
    click.echo(f"{error.found}.", err=True)
    text = "Scale and crop each to a square of how many pixels per side?"
    size: int = click.prompt(text, default=error.suggested, type=Whole(1), err=True)
    return size


def _lead(
    config: TrainConfig,
    run: Path | None,
    ranks: Ranks,
    alerts: Alerts,
    *,
    as_json: bool,
    quiet: bool,
) -> int:
    """Train on the first rank and show progress and result; the exit code."""
    from lae_fast.train import StopRequest
    from lae_fast.train import train as run_training

    reporter = reporters.choose(config, quiet=quiet)
    code = exits.OK
    error: BaseException | None = None
    try:
        with reporter.display:
            stop = StopRequest()
            with Interrupts(stop.request, reporter.note) as interrupts:
                for event in run_training(config, stop=stop, resume=run, ranks=ranks):
                    reporter(event)
                    alerts(event)
            code = interrupts.exit_code
    except BaseException as problem:
        error = problem
        raise
    finally:
        alerts.close(error)
        if reporter.view.finished is not None:  # else the training did not get so far
            present(_result(reporter.view), as_json=as_json)
    if not quiet:
        for line in farewell(reporter.view, config):
            reporters.say(line)
    status = reporter.view.finished.status if reporter.view.finished else ""
    return code or {"interrupted": exits.INTERRUPTED, "failed": exits.FAILED}.get(status, 0)


def _result(view: RunView) -> Result:
    """The result of a finished training; losses are in nats per image, times in seconds."""
    assert view.finished is not None
    values = dataclasses.asdict(view.finished)
    del values["time"]
    values = {"run": view.run_name, "run_dir": str(view.run_dir)} | values
    values |= {"val_quantity": view.val_quantity}
    rows = {
        "run": values["run_dir"],
        "status": f"{values['status']} after {values['epochs']} epochs, "
        f"{vocabulary.duration(values['elapsed'])}",
        vocabulary.VAL_LOSS: f"{vocabulary.loss(values['val_loss'])} {vocabulary.LOSS_UNIT}, "
        f"{view.val_quantity} (best, epoch {values['best_epoch']})",
        vocabulary.TRAIN_LOSS: f"{vocabulary.loss(values['train_loss'])} {vocabulary.LOSS_UNIT}",
        vocabulary.ACCEPTANCE: vocabulary.rate(values["accept_rate"]),
        vocabulary.STEP_SIZE: vocabulary.scientific(values["step_size"]),
        "speed": f"{vocabulary.per_second(values['images_per_second'])} images/s",
    }
    return Result(values, [f"{label:<12}{value}" for label, value in rows.items()])


def _follow(config: TrainConfig, run: Path | None, ranks: Ranks) -> None:
    """Train on another rank, in silence, until the first rank broadcasts the end."""
    from lae_fast.train import train as run_training

    torchrun.ignore_signals()
    for _ in run_training(config, resume=run, ranks=ranks):
        pass


def _words(ctx: click.Context, config: TrainConfig, resume: str | None) -> list[str]:
    """The command line of each of several processes."""
    from lae_cli.processes import background

    # All processes must name the run alike.
    more = {"name": background.name_of(config)} if resume is None else {}
    words = background.command(_given(ctx) | more, ctx.params["config_file"])
    words += [] if resume is None else ["--resume", resume]
    words += ["--json"] if ctx.params["as_json"] else []
    return words + (["--quiet"] if ctx.params["quiet"] else [])


def _given(ctx: click.Context) -> dict[str, Any]:
    """What another process that trains the same must be given: flags, and the preset below them."""
    names = ("preset", "on_event", "webhook", "better_than")
    others = {name: ctx.params[name] for name in names if ctx.params[name] is not None}
    return others | given_settings(ctx)


def _settings(
    flags: dict[str, Any], preset: str | None, file: str | None, resume: str | None
) -> tuple[TrainConfig, Path | None]:
    """The settings, and the run folder to continue if one is named."""
    if resume is None:
        config = settings.resolve(flags, preset=preset, file=file)
        _refuse_idle(config, flags)
        resume = torchrun.run_to_continue(config) if torchrun.was_restarted() else None
        if resume is None:
            return config, None
        flags = {name: flags[name] for name in flags if name in CHANGEABLE}
        preset = file = None
    if preset is not None:
        raise ConfigError("--resume takes the settings of the run itself; drop --preset")
    if file is not None:
        raise ConfigError("--resume takes the settings of the run itself; drop --config")
    root = flags["run_root"] if "run_root" in flags else settings.default_of("run_root")
    run = runs.find(root, resume)
    config = settings.resumed(runs.read_config(run), flags)
    return dataclasses.replace(config, run_root=str(run.parent), name=run.name), run


def _refuse_idle(config: TrainConfig, flags: dict[str, Any]) -> None:
    """Refuse flags that the model would ignore; files and the environment may serve any model."""
    for name in config.ignored(flags):
        if name == "samples":
            raise ConfigError(f"--samples is for --model iwae, not {config.model}; drop it")
        raise ConfigError(
            f"{settings.flag_of(name)} is for models with a Langevin chain, and {config.model} has "
            "none; drop it"
        )


def _in_background(config: TrainConfig, given: dict[str, Any], config_file: str | None) -> int:
    """Train in another process, open the dashboard, and say how to reopen it; the exit code."""
    from lae_cli.dashboard import launch
    from lae_cli.processes import background

    launch.need_terminal()
    reporters.say("starting the training; press Ctrl-C to end it")
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
    where = run_words(run.name, root)
    if ended:
        return [f"{run} has ended; `lae runs show {where}` shows its result"]
    return [
        f"the training continues in {run}",
        f"  lae dash {where}       reopens the dashboard",
        f"  lae runs stop {where}  stops it and saves the weights",
    ]
