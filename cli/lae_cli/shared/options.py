"""Options that several verbs share; those of settings are made from the fields of `TrainConfig`."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from lae_fast.config import DATASETS, GROUPS, TrainConfig, field_types
from lae_fast.config.settings import ENV_PREFIX, default_of, flag_of, parse

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    _ParamType = click.ParamType[Any]
else:  # older versions of click have no parameter there
    _ParamType = click.ParamType

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]
FIELDS = {field.name: field for field in dataclasses.fields(TrainConfig)}

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
quiet_option = click.option(
    "--quiet", "-q", is_flag=True, help="Print nothing on stderr but errors."
)


class SettingType(_ParamType):
    """Converts and checks one setting with the library's own rules."""

    def __init__(self, name: str) -> None:
        self._setting = name
        self.name = _metavar(FIELDS[name])

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The value in the setting's type; raises `lae_fast.errors.ConfigError`."""
        return parse(self._setting, value, label=flag_of(self._setting))

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Complete choices and data set names; leave paths to the shell."""
        from click.shell_completion import CompletionItem

        choices = FIELDS[self._setting].metadata["choices"] or ()
        if self._setting == "dataset":
            choices = DATASETS
        return [CompletionItem(choice) for choice in choices if choice.startswith(incomplete)]


class Whole(click.IntRange):
    """Whole numbers that a tensor can hold; the help shows only the lower bound."""

    name = "int"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number, if it is in the range."""
        number = super().convert(value, param, ctx)
        if number >= 2**63:
            self.fail(f"{number} is too large; give a number below 2^63.", param, ctx)
        return number


class Real(click.FloatRange):
    """A range of numbers; click's own lets NaN through, and infinity where there is no bound."""

    name = "float"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number, if it is a finite one in the range."""
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{number} is not a finite number.", param, ctx)
        return number


def add_options(command: Callable[..., Any], *options: Decorator) -> Callable[..., Any]:
    """``command`` with the options, which the help lists in this order."""
    for option in reversed(options):
        command = option(command)
    return command


def whole(*names: str, least: int = 1, **more: Any) -> Decorator:
    """An option that takes a whole number, ``least`` or more."""
    return click.option(*names, type=Whole(least), show_default=True, **more)


def real(*names: str, zero: bool = False, most: float | None = None, **more: Any) -> Decorator:
    """An option that takes a finite number above 0 (or 0 itself, with ``zero``), up to ``most``."""
    range_ = Real(0, most, min_open=not zero)
    return click.option(*names, type=range_, show_default=True, **more)


class GroupedOption(click.Option):
    """An option that belongs to a section of the help."""

    def __init__(self, *args: Any, group: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.group = group


class GroupedCommand(click.Command):
    """A command that prints its options in sections."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """One section per group, in the order in which the groups appear."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None:
                groups.setdefault(getattr(param, "group", "Output"), []).append(record)
        for group, records in groups.items():
            with formatter.section(f"{group} options"):
                formatter.write_dl(records)


def setting_options() -> list[click.Parameter]:
    """One option per setting of a training, each in its section of the help."""
    options: list[click.Parameter] = []
    group = ""
    for name in FIELDS:
        group = GROUPS.get(name, group)
        flag, about = flag_of(name), _about(name)
        if field_types()[name] is bool:
            names = [f"{flag}/--no-{flag.removeprefix('--')}", name]
            about = {"help": about["help"]}
        else:
            names = [flag, name]
        options.append(GroupedOption(names, default=None, group=group, **about))
    return options


def setting_option(name: str, *, default: str | None = None) -> Decorator:
    """One setting of a training for another verb: the flag, else ``LAE_NAME``, else the default.

    Args:
        name: of the setting.
        default: this verb's own, where it is not the training's.
    """

    def resolve(ctx: click.Context, param: click.Parameter, value: Any) -> Any:
        if value is not None or ctx.resilient_parsing:
            return value
        found = default_of(name)  # also checks the environment
        own = default is not None and f"{ENV_PREFIX}{name.upper()}" not in os.environ
        return default if own else found

    about = _about(name)
    if default is not None:
        about["help"] = f"{FIELDS[name].metadata['help']}  [default: {default}]"
    return click.option(flag_of(name), name, callback=resolve, **about)


def given_settings(ctx: click.Context) -> dict[str, Any]:
    """The settings that stand on the command line, so that files and environment rank below."""
    return {
        name: value
        for name, value in ctx.params.items()
        if name in FIELDS and ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE
    }


def _about(name: str) -> dict[str, Any]:
    """What click is told of a setting's option: its type, and its help with the default."""
    field = FIELDS[name]
    text, default = field.metadata["help"], field.default
    if isinstance(default, bool):
        flag = name.replace("_", "-")
        default = flag if default else f"no-{flag}"
    if default is not None:
        text += f"  [default: {default}]"
    return {"type": SettingType(name), "metavar": _metavar(field), "help": text}


def _metavar(field: dataclasses.Field[Any]) -> str:
    if field.metadata["metavar"]:
        return str(field.metadata["metavar"])
    if field.metadata["choices"]:
        return "|".join(field.metadata["choices"])
    text = str(field.type)
    return {"int": "INT", "float": "FLOAT"}.get(text.removesuffix(" | None"), "TEXT")
