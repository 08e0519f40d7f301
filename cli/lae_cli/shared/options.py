"""Options of ``lae train``, made from the fields of `TrainConfig`: one place for every setting."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from lae_fast.config import DATASETS, GROUPS, TrainConfig, field_types
from lae_fast.config.settings import ENV_PREFIX, flag_of, parse

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    _ParamType = click.ParamType[Any]
else:  # older versions of click have no parameter there
    _ParamType = click.ParamType


LARGEST = 2**63 - 1
"""Whole numbers beyond it are none that a tensor could take."""


class SettingType(_ParamType):
    """Converts and checks one setting with the library's own rules."""

    def __init__(self, field: dataclasses.Field[Any], flag: str) -> None:
        self._field, self._flag = field, flag
        self.name = _metavar(field)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The value in the setting's type; raises `lae_fast.errors.ConfigError`."""
        return parse(self._field.name, value, label=self._flag)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Complete choices and data set names; leave paths to the shell."""
        from click.shell_completion import CompletionItem

        choices = self._field.metadata["choices"] or ()
        if self._field.name == "dataset":
            choices = DATASETS
        return [CompletionItem(choice) for choice in choices if choice.startswith(incomplete)]


class FiniteRange(click.FloatRange):
    """A range of numbers; click's own lets NaN through, and infinity where there is no bound."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number, if it is a finite one in the range."""
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{number} is not a finite number.", param, ctx)
        return number


class GroupedOption(click.Option):
    """An option that belongs to a section of the help."""

    def __init__(self, *args: Any, group: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.group = group


class GroupedCommand(click.Command):
    """A command that prints its options in sections."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """One section a group, in the order in which the groups appear."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None:
                groups.setdefault(getattr(param, "group", "Output"), []).append(record)
        for group, records in groups.items():
            with formatter.section(f"{group} options"):
                formatter.write_dl(records)


def setting_options() -> list[click.Parameter]:
    """One option per field of `TrainConfig`, each in its section of the help."""
    options: list[click.Parameter] = []
    group = ""
    for field in dataclasses.fields(TrainConfig):
        group = GROUPS.get(field.name, group)
        options.append(_option(field, group))
    return options


def device_option(command: Callable[..., None]) -> Callable[..., None]:
    """Add the setting ``--device`` of `lae train`; the command gets its name as ``device``."""
    (field,) = (f for f in dataclasses.fields(TrainConfig) if f.name == "device")
    add = click.option(
        "--device", type=SettingType(field, "--device"), metavar=_metavar(field),
        default=field.default, envvar=f"{ENV_PREFIX}DEVICE", help=_help(field),
    )  # fmt: skip
    return add(command)


def given_settings(ctx: click.Context) -> dict[str, Any]:
    """The settings that stand on the command line, so that files and environment rank below."""
    names = field_types()
    return {
        name: value
        for name, value in ctx.params.items()
        if name in names and ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE
    }


def _option(field: dataclasses.Field[Any], group: str) -> GroupedOption:
    flag, text = flag_of(field.name), _help(field)
    if field_types()[field.name] is bool:
        both = f"{flag}/--no-{flag.removeprefix('--')}"
        return GroupedOption([both, field.name], default=None, help=text, group=group)
    return GroupedOption(
        [flag, field.name],
        type=SettingType(field, flag),
        metavar=_metavar(field),
        default=None,
        help=text,
        group=group,
    )


def _help(field: dataclasses.Field[Any]) -> str:
    default = field.default
    if default is None:
        return str(field.metadata["help"])
    if isinstance(default, bool):
        name = field.name.replace("_", "-")
        default = name if default else f"no-{name}"
    return f"{field.metadata['help']}  [default: {default}]"


def _metavar(field: dataclasses.Field[Any]) -> str:
    if field.metadata["metavar"]:
        return str(field.metadata["metavar"])
    if field.metadata["choices"]:
        return "|".join(field.metadata["choices"])
    text = str(field.type)
    return {"int": "INT", "float": "FLOAT"}.get(text.removesuffix(" | None"), "TEXT")
