"""``lae config``: files of settings."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from lae_cli.shared.options import FIELDS
from lae_fast.config import GROUPS
from lae_fast.errors import ConfigError, printable, reason

WIDTH = 96


@click.group()
def config() -> None:
    """Write a file of settings for `lae train --config`.

    \b
    Example:
      lae config init lae.toml
    """


@config.command("init")
@click.argument(
    "file", default="lae.toml", type=click.Path(dir_okay=False, path_type=Path), metavar="[FILE]"
)
@click.option("--force", is_flag=True, help="Write over a file that exists.")
def init_command(file: Path, force: bool) -> None:
    """Write every setting, its meaning and its default to a TOML file.

    FILE is lae.toml by default. All lines are comments: remove the # before a setting to change it.

    \b
    Example:
      lae config init lae.toml
      lae train --config lae.toml
    """
    try:
        with open(file, "w" if force else "x", encoding="utf-8") as out:
            out.write("\n".join(_lines(file)) + "\n")
    except FileExistsError as error:
        raise ConfigError(f"{file} exists; name another file, or use --force") from error
    except OSError as error:
        raise ConfigError(f"cannot write {file}: {reason(error)}; name another file") from error
    words = shlex.quote(printable(file))
    click.echo(f"wrote {printable(file)}; `lae train --config {words}` reads it", err=True)


def _lines(file: Path) -> Iterator[str]:
    yield f"# Settings for `lae train --config {shlex.quote(printable(file.name))}`."
    yield "# Remove the # before a setting to change it, and write a value where none stands. LAE_*"
    yield "# variables and flags win over it."
    for name, field in FIELDS.items():
        if name in GROUPS:
            yield from ("", "", f"# --- {GROUPS[name]} ---")
        yield ""
        about, choices = field.metadata["help"], field.metadata["choices"]
        if choices:
            about += f" One of: {', '.join(choices)}."
        yield from textwrap.wrap(about, WIDTH, initial_indent="# ", subsequent_indent="# ")
        yield f"# {name} = {_toml(field.default)}".rstrip()


def _toml(value: Any) -> str:
    """A value as TOML; empty for None, which TOML does not have."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    return f'"{value}"'
