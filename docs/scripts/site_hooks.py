"""What the site has beyond Markdown: formulas as MathML, and the reference from the code itself.

mkdocs calls `on_page_markdown` and `on_page_content` for every page (``hooks`` in mkdocs.yml).
Formulas are converted while the site is built, so that a browser loads nothing from elsewhere.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from html import escape, unescape
from pathlib import Path
from typing import Any

import click
from latex2mathml.converter import convert

from lae_cli.exits import MEANINGS
from lae_cli.main import lae

ROOT = Path(__file__).parents[2]
COMMANDS = "<!-- commands -->"
"""Stands in a page where the reference of all commands goes."""
MODULES = re.compile(r"<!-- modules of ([\w.]+) -->")
"""Stands where the Python reference of a package goes."""
FORMULA = re.compile(r'<(div|span) class="arithmatex">(.*?)</\1>', re.DOTALL)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Write the commands, or the modules of a package, where a page asks for them."""
    if COMMANDS in markdown:
        markdown = markdown.replace(COMMANDS, "\n".join(reference()))
    return MODULES.sub(lambda found: "\n\n".join(modules(found[1])), markdown)


def modules(package: str) -> list[str]:
    """What mkdocstrings takes for the package itself and for every public module in it."""
    folder = ROOT / package.replace(".", "/")
    names = sorted(path.stem for path in folder.glob("*.py") if not path.stem.startswith("_"))
    return [f"::: {package}", *(f"::: {package}.{name}" for name in names)]


def on_page_content(html: str, **_: Any) -> str:
    """Turn every formula into MathML."""
    return FORMULA.sub(_mathml, html)


def _mathml(found: re.Match[str]) -> str:
    formula = unescape(found[2].strip()[2:-2])  # without \( \) or \[ \]
    return convert(formula, display="block" if found[1] == "div" else "inline")


def commands(
    group: click.Group = lae, path: tuple[str, ...] = ("lae",)
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command with the words that call it, such as ``("lae", "runs", "ls")``."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command is None or command.hidden:
            continue
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))


def reference() -> list[str]:
    """The reference of all commands, as Markdown."""
    lines, seen = [], {}
    for path, command in commands():
        words = " ".join(path)
        lines += [f"## {words}", ""]
        if id(command) in seen:
            lines += [f"Another name for `{seen[id(command)]}`.", ""]
            continue
        seen[id(command)] = words
        context = click.Context(command, info_name=words, max_content_width=100)
        lines += [*_described(command.help), f"```text\n{command.get_usage(context)[7:]}\n```", ""]
        for title, options in _groups(command).items():
            lines += _table(title, options, context)
        lines += _described(command.epilog)
    lines += ["## Exit codes", "", "| code | meaning |", "| ---: | --- |"]
    return [*lines, *(f"| {code} | {meaning} |" for code, meaning in MEANINGS.items()), ""]


def _described(text: str | None) -> list[str]:
    """A help text: paragraphs as they are, and what is set off as a block of code."""
    lines: list[str] = []
    for part in inspect.cleandoc(text or "").split("\n\n"):
        block = part.removeprefix("\b\n").removeprefix("\b")
        if "\b" not in part and not part.startswith(" "):
            lines += [escape(part, quote=False), ""]
            continue
        first, _, rest = block.partition("\n")
        if first.endswith(":") and rest:
            lines, block = [*lines, escape(first.strip(), quote=False), ""], rest
        lines += ["```text", inspect.cleandoc(block), "```", ""]
    return lines


def _groups(command: click.Command) -> dict[str, list[click.Option]]:
    """The options of a command under their headings."""
    found: dict[str, list[click.Option]] = {}
    for option in command.params:
        if isinstance(option, click.Option) and not option.hidden:
            title = getattr(option, "group", None)
            found.setdefault(f"{title} options" if title else "Options", []).append(option)
    return found


def _table(title: str, options: list[click.Option], context: click.Context) -> list[str]:
    """Options and what they do; Click's own words, defaults included."""
    lines = [f"| {title} | |", "| --- | --- |"]
    for option in options:
        record = option.get_help_record(context)
        if record is not None:
            names, text = (escape(part, quote=False).replace("|", "&#124;") for part in record)
            lines.append(f"| <code>{names}</code> | {text} |")
    return [*lines, ""]
