"""``lae dashboard``, ``lae dash``: open the Textual application, or serve it to a browser."""

from __future__ import annotations

from pathlib import Path

import click

from lae_fast import runs as store
from lae_fast.config import settings

PORT = 8321


@click.command()
@click.argument("names", metavar="[RUN]...", nargs=-1)
@click.option(
    "--run-root",
    metavar="DIR",
    default=None,
    help="Folder that holds the run folders.  [default: runs]",
)
@click.option("--readonly", is_flag=True, help="Send no commands and write no files.")
@click.option("--ascii", "ascii_only", is_flag=True, help="Draw with ASCII characters only.")
@click.option("--theme", metavar="NAME", help="Colours: textual-dark, ansi-dark (16 colours), ...")
@click.option("--web", is_flag=True, help="Serve it to a browser on this machine (127.0.0.1).")
@click.option("--port", type=click.IntRange(1, 65535), default=PORT, show_default=True)
@click.option("--allow-control", is_flag=True, help="With --web: not read-only.")
def dashboard(
    names: tuple[str, ...],
    run_root: str | None,
    readonly: bool,
    ascii_only: bool,
    theme: str | None,
    web: bool,
    port: int,
    allow_control: bool,
) -> None:
    """Watch running and finished trainings.

    RUN is a name, the unique beginning of one, a path, or `latest`; without one, the newest run
    is opened. The first is in front, the others are overlaid on its charts. Press ? for the keys.
    """
    root = Path(settings.resolve({} if run_root is None else {"run_root": run_root}).run_root)
    if root.exists() and not root.is_dir():
        raise store.RunError(f"{root} is not a folder; choose another --run-root")
    paths = tuple(store.find(root, name) for name in names)
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
        known = ", ".join(BUILTIN_THEMES)
        raise click.UsageError(f"no theme {name!r}; there are {known}")
