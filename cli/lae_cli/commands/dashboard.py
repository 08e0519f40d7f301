"""``lae dashboard``, ``lae dash``: open the Textual application, or serve it to a browser."""

from __future__ import annotations

from pathlib import Path

import click

from lae_cli.shared.completions import complete_runs, complete_themes
from lae_cli.shared.options import setting_option
from lae_fast import runs
from lae_fast.errors import RunError, did_you_mean

PORT = 8321


@click.command()
@click.argument("names", metavar="[RUN]...", nargs=-1, shell_complete=complete_runs)
@setting_option("run_root")
@click.option("--readonly", is_flag=True, help="Send no commands and write no files.")
@click.option("--ascii", "ascii_only", is_flag=True, help="Draw with ASCII characters only.")
@click.option(
    "--theme",
    metavar="NAME",
    shell_complete=complete_themes,
    help="Colours: ansi-dark (16 colours), nord and others.  [default: textual-dark]",
)
@click.option("--web", is_flag=True, help="Serve to a browser on this machine (127.0.0.1).")
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    default=PORT,
    show_default=True,
    metavar="PORT",
    help="With --web: serve on this port.",
)
@click.option("--allow-control", is_flag=True, help="With --web: allow commands and files.")
def dashboard(
    names: tuple[str, ...],
    run_root: str,
    readonly: bool,
    ascii_only: bool,
    theme: str | None,
    web: bool,
    port: int,
    allow_control: bool,
) -> None:
    """Watch running and finished trainings.

    RUN is a name, the unique beginning of one, a path, or `latest`. Without a RUN, the newest is
    opened. The first RUN is in front; the others are overlaid on its charts. Press ? for the keys.

    \b
    Example:
      lae dash latest
      lae dash --web --port 8000
    """
    root = Path(run_root)
    if root.exists() and not root.is_dir():
        raise RunError(f"{root} is not a folder; choose another --run-root")
    paths = tuple(runs.find(root, name) for name in names)
    if theme is not None:
        _check_theme(theme)
    if web:
        from lae_cli.dashboard.web import serve

        flags = ["--ascii"] if ascii_only else []
        flags += ["--theme", theme] if theme else []
        serve(root, [str(path) for path in paths], port, readonly=not allow_control, flags=flags)
        return
    from lae_cli.dashboard.launch import run

    run(root, paths, readonly=readonly, ascii_only=ascii_only, theme=theme)


dash = dashboard
"""The short name."""


def _check_theme(name: str) -> None:
    from textual.theme import BUILTIN_THEMES

    if name not in BUILTIN_THEMES:
        raise click.UsageError(f"no theme {name!r}; {did_you_mean(name, BUILTIN_THEMES)}")
