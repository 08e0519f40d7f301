"""The ``lae`` command: a table of verbs, each imported only when it is called.

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

COMMANDS = {
    "train": "Train a Langevin autoencoder and watch it learn.",
    "dashboard": "Watch running and finished trainings.",
    "dash": "Watch running and finished trainings (short for dashboard).",
    "sweep": "Train every point of a sweep file and tabulate the results.",
    "runs": "List, show, rename, stop, remove and export run folders.",
    "config": "Write a file of settings for `lae train --config`.",
    "eval": "Estimate the held-out log-likelihood of a run.",
    "diagnose": "Judge whether the chain of a run is to be trusted.",
    "sample": "Decode images from random latents.",
    "reconstruct": "Reconstruct held-out images and measure the error.",
    "interpolate": "Decode the line between two latents, or a square of four.",
    "traverse": "Decode images while one latent dimension varies at a time.",
    "latents": "Show where held-out images lie in latent space, by class.",
    "encode": "Encode images of your own into latents.",
    "export": "Export encoder and decoder as ONNX or TorchScript.",
    "posterior": "Sample p(z | x) of held-out images by Langevin dynamics.",
    "probe": "Train a linear probe of the classes on frozen latents.",
    "classify": "Train a classifier on images and generated neighbours.",
    "attack": "Attack a classifier by projected gradient descent.",
    "anomaly": "Detect images that the model was not trained for.",
    "experiment": "Run one study and show its tables.",
    "reproduce": "Run all studies and write the page of results.",
    "doctor": "Check what is installed and works, or the files of a run.",
    "bench": "Compare the fused kernels and the trainer with plain PyTorch.",
    "completion": "Print the script that completes `lae` in your shell.",
}
"""Verb -> first line of its help. `lae_cli.commands` has a module and a click command for each."""
FIRST = (
    ("lae train", "train on handwritten digits: no download, under a minute"),
    ("lae dash", "watch running and finished trainings"),
    ("lae sample", "draw images from the newest run"),
    ("lae runs", "list, show, stop and remove runs"),
    ("lae --help", "every command; `lae train --help` explains one"),
)
"""What to type first, and what it does."""
_SAME_MODULE = {"dash": "dashboard"}
"""Verbs that are defined in another verb's module."""


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
        module = importlib.import_module(f"lae_cli.commands.{_SAME_MODULE.get(cmd_name, cmd_name)}")
        command: click.Command = getattr(module, cmd_name)
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
            formatter.write_dl(list(COMMANDS.items()))

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
    invoke_without_command=True,
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
@click.pass_context
def lae(ctx: click.Context) -> None:
    """Train Langevin autoencoders from the terminal.

    Start with `lae train`: it needs no download and takes a minute. `lae VERB --help` explains a
    verb, with an example. A RUN is the name of a run, the unique beginning of one, a path, or
    `latest`, which is the default.
    """
    if ctx.invoked_subcommand is None:
        from lae_cli.shared.start import show_start

        show_start("LAE trains Langevin autoencoders and shows how they learn.", FIRST)


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
    # Imported here because it imports `lae_fast.runs`, which takes as long as all of `lae --help`.
    from lae_cli.processes import torchrun

    code, line = exits.explain(error)
    if code == exits.BAD_INPUT and torchrun.is_other_rank():
        return code  # the first rank refuses the same input and prints the line
    if code == exits.INTERNAL and os.environ.get("LAE_DEBUG") == "1":
        import traceback

        traceback.print_exception(error)
        return code
    with contextlib.suppress(OSError):  # stderr may be closed
        click.echo(f"lae: {line}", err=True)
    return code


def _silence_stdout() -> None:
    """Python flushes stdout once more on exit, and would complain of the closed pipe."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
