"""Help texts: what a verb does, an example to copy, and the default of every option."""

from __future__ import annotations

import inspect
import re

import click
import pytest

from helpers.command_line import VERBS
from lae_cli.main import COMMANDS

OPTIONS = [
    pytest.param(option, id=f"{' '.join(words)} {option.opts[0]}")
    for words, command in VERBS.items()
    for option in command.params
    if isinstance(option, click.Option)
]


def text_of(option: click.Option) -> str:
    record = option.get_help_record(click.Context(click.Command("x")))
    assert record is not None
    return record[1]


@pytest.mark.parametrize("words", VERBS, ids=" ".join)
def test_a_verb_says_what_it_does_and_shows_an_example(words: tuple[str, ...]) -> None:
    text = inspect.cleandoc(VERBS[words].help or "")
    first, *rest = text.replace("\b", "").splitlines()
    assert first.endswith(".")
    assert len(first) < 70
    example = rest.index("Example:")
    calls = [line for line in rest[example + 1 :] if " lae " in f" {line} "]
    assert calls
    assert words[-1] in " ".join(calls) or words == ("dashboard",)
    if words[0] not in ("runs", "config", "dash"):
        assert first == COMMANDS[words[0]]


@pytest.mark.parametrize("option", OPTIONS)
def test_an_option_says_what_it_does_and_its_default(option: click.Option) -> None:
    text = text_of(option)
    assert text[:1].isupper()
    assert "x<=" not in text or "x<=1]" in text or "65535" in text
    assert not re.search(r"\d{10}", text)
    if not option.is_flag:
        assert "default: " in text, text


@pytest.mark.parametrize("words", VERBS, ids=" ".join)
def test_help_fits_eighty_columns(words: tuple[str, ...]) -> None:
    command = VERBS[words]
    context = click.Context(command, info_name="lae " + " ".join(words), terminal_width=80)
    assert max(map(len, command.get_help(context).splitlines())) <= 80
