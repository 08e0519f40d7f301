"""The ``lae`` command: an explicit table of verbs, each imported only when it is called.

Nothing here imports torch, rich or textual, so that ``lae --help`` is immediate.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

import click

from lae_cli import exits
from lae_fast.errors import did_you_mean

COMMANDS: dict[str, tuple[str, str]] = {
    "train": ("lae_cli.commands.train", "Train a Langevin autoencoder and watch it learn."),
    "dashboard": ("lae_cli.commands.dashboard", "Watch running and finished trainings."),
    "dash": (
        "lae_cli.commands.dashboard",
        "Watch running and finished trainings (short for dashboard).",
    ),
    "sweep": (
        "lae_cli.commands.sweep",
        "Train every point of a sweep file and tabulate the results.",
    ),
    "runs": ("lae_cli.commands.runs", "List, show, stop, remove and export run folders."),
    "eval": ("lae_cli.commands.eval", "Estimate the held-out log-likelihood of a run."),
    "diagnose": ("lae_cli.commands.diagnose", "Judge whether the chain of a run is to be trusted."),
    "sample": ("lae_cli.commands.sample", "Decode images from random latents."),
    "reconstruct": (
        "lae_cli.commands.reconstruct",
        "Reconstruct held-out images and measure the error.",
    ),
    "interpolate": (
        "lae_cli.commands.interpolate",
        "Decode the line between two latents, or a square of four.",
    ),
    "traverse": (
        "lae_cli.commands.traverse",
        "Decode images while one latent dimension varies at a time.",
    ),
    "latents": (
        "lae_cli.commands.latents",
        "Show where held-out images lie in latent space, by class.",
    ),
    "posterior": (
        "lae_cli.commands.posterior",
        "Sample p(z | x) of held-out images by Langevin dynamics.",
    ),
    "probe": ("lae_cli.commands.probe", "Train a linear probe of the classes on frozen latents."),
    "classify": (
        "lae_cli.commands.classify",
        "Train a classifier on images and generated neighbours.",
    ),
    "attack": ("lae_cli.commands.attack", "Attack a classifier by projected gradient descent."),
    "anomaly": ("lae_cli.commands.anomaly", "Detect images that the model was not trained for."),
    "experiment": ("lae_cli.commands.experiment", "Run one study and show its tables."),
    "reproduce": ("lae_cli.commands.reproduce", "Run all studies and write the page of results."),
    "doctor": ("lae_cli.commands.doctor", "Check Python, torch, the kernels and the terminal."),
    "bench": (
        "lae_cli.commands.bench",
        "Compare the fused kernels and the trainer with plain PyTorch.",
    ),
    "completion": (
        "lae_cli.commands.completion",
        "Print the script that completes `lae` in your shell.",
    ),
}
"""Verb -> (module that holds a click command of the same name, first line of its help)."""


class ReaderGoneError(Exception):
    """The pipe behind stdout was closed; click would end such a run with code 1, our FAILED."""


@contextlib.contextmanager
def _pipe_left_to_main() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError as error:
        raise ReaderGoneError from error


class LazyGroup(click.Group):
    """A group whose subcommands live in `COMMANDS` and are imported on use."""

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        """Read the command line; ``--help`` and ``--version`` print from here."""
        with _pipe_left_to_main():
            return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the verb; let `main` deal with a closed pipe."""
        with _pipe_left_to_main():
            return super().invoke(ctx)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The verbs, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the verb's module and return its click command."""
        if cmd_name not in COMMANDS:
            return None
        command = getattr(importlib.import_module(COMMANDS[cmd_name][0]), cmd_name)
        if not isinstance(command, click.Command):
            raise TypeError(f"{COMMANDS[cmd_name][0]}.{cmd_name} is not a click command")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the verb, or refuse it with the closest one."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            hint = did_you_mean(args[0], COMMANDS, "`lae --help` lists the commands")
            ctx.fail(f"no command {args[0]!r}; {hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the verbs from the table, without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the exit codes."""
        with formatter.section("Exit codes"):
            formatter.write_dl([(str(code), text) for code, text in exits.MEANINGS.items()])


def _print_version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if not value or ctx.resilient_parsing:
        return
    from importlib.metadata import PackageNotFoundError, version

    try:
        click.echo(f"lae {version('lae-fast')}")
    except PackageNotFoundError:
        click.echo("lae (not installed; running from a source tree)")
    ctx.exit()


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "--version",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_print_version,
    help="Show the version and exit.",
)
def lae() -> None:
    """Train Langevin autoencoders from the terminal.

    Start with `lae train`: it needs no download and takes a minute. `lae VERB --help` explains a
    verb, with an example. A RUN is the name of a run, the unique beginning of one, a path, or
    `latest`, which is the default.
    """


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and leave with the exit code that `lae_cli.exits` documents."""
    # OpenMP's threads spin while they wait, by default: two trainings on one machine, or one beside
    # anything busy, then run at a twentieth of their speed. Read when torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        result = lae.main(args=argv, prog_name="lae", standalone_mode=False)
        sys.stdout.flush()
        code = result if isinstance(result, int) else exits.OK
    except (BrokenPipeError, ReaderGoneError):
        code = exits.BROKEN_PIPE
        _silence_stdout()
    except SystemExit:  # click's own, after completion
        raise
    except BaseException as error:
        code = _report(error)
    sys.exit(code)


def _report(error: BaseException) -> int:
    """Print one line on stderr for ``error`` and return its exit code."""
    from lae_cli.processes import torchrun  # with all of run folders: half the time of --help

    code, line = exits.explain(error)
    if torchrun.follows() and code in (exits.OK, exits.BAD_INPUT):
        return code  # the first rank has met it too, and says it
    if code == exits.INTERNAL and os.environ.get("LAE_DEBUG") == "1":
        import traceback

        traceback.print_exception(error)
    else:
        try:
            click.echo(f"lae: {line}", err=True)
        except OSError:  # nobody is left to read it
            return code
    return code


def _silence_stdout() -> None:
    """Python flushes stdout once more on exit, and would complain of the closed pipe."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
