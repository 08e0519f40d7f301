"""Reads the settings of `lae_fast.config` from TOML and JSON files, the environment and flags."""

from __future__ import annotations

import json
import os
import tomllib
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lae_fast.config import CHANGEABLE, TrainConfig, check, field_types, quoted
from lae_fast.config.presets import BEFORE, PRESETS
from lae_fast.errors import ConfigError, closest, did_you_mean, reason

ENV_PREFIX = "LAE_"
LARGEST_FILE = 1 << 20
"""Bytes of a file of settings."""


def resolve(
    flags: Mapping[str, Any],
    *,
    preset: str | None = None,
    file: str | os.PathLike[str] | None = None,
    environ: Mapping[str, str] | None = None,
) -> TrainConfig:
    """The settings of a training.

    Flags win over ``LAE_*`` variables, those over a TOML file, and that over a preset.

    Args:
        flags: settings given explicitly, by field name.
        preset: one of `PRESETS`.
        file: a TOML file whose top-level keys are field names (``-`` and ``_`` both work).
        environ: the environment; variables are named ``LAE_`` + the field's name in capitals.

    Raises:
        ConfigError: an unknown key, a wrong type, a value out of bounds, an unreadable file.
    """
    table = {} if preset is None else dict(PRESETS[preset])
    if file is not None:
        table |= parse_table(read_toml(Path(file)), source=str(file))
    return from_dict(layered(table, flags, environ))


def layered(
    table: Mapping[str, Any], flags: Mapping[str, Any], environ: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """``table`` with the settings of the environment over it, and ``flags`` over both.

    Raises:
        ConfigError: an environment variable that cannot be used.
    """
    return {**table, **_read_environ(os.environ if environ is None else environ), **flags}


def default_of(name: str, environ: Mapping[str, str] | None = None) -> Any:
    """The value of one setting where no flag gives it: that of the environment, or the default.

    Raises:
        ConfigError: an environment variable that cannot be used.
    """
    return layered({}, {}, environ).get(name, getattr(TrainConfig, name))


def resumed(saved: Mapping[str, Any], flags: Mapping[str, Any]) -> TrainConfig:
    """The settings of a run to be resumed: its own, with those flags that may change.

    Args:
        saved: the run's own settings.
        flags: settings given explicitly, by field name; only those in `CHANGEABLE`.

    Raises:
        ConfigError: a flag that would make it another run, or settings that cannot be read.
    """
    if not saved:
        raise ConfigError("the run's config.json cannot be read; it cannot be resumed")
    for name in flags.keys() - CHANGEABLE:
        allowed = ", ".join(map(flag_of, sorted(CHANGEABLE)))
        raise ConfigError(
            f"{flag_of(name)} cannot change when a run is resumed; only {allowed} can"
        )
    return from_stored({**saved, **flags}, source="config.json")


def flag_of(name: str) -> str:
    """The flag of a setting: ``--latent-dim`` for ``latent_dim``."""
    return "--" + name.replace("_", "-")


def from_dict(values: Mapping[str, Any], *, source: str = "configuration") -> TrainConfig:
    """Settings from plain values by field name, converted and checked.

    Raises:
        ConfigError: an unknown name, a wrong type, a value out of bounds; it names ``source``.
    """
    for key in values:
        if key not in field_types():
            raise _unknown(key, source)
    return TrainConfig(**{k: parse(k, v, label=f"{source}: {k}") for k, v in values.items()})


def from_stored(values: Mapping[str, Any], *, source: str = "config.json") -> TrainConfig:
    """`from_dict` of what a run stored, maybe before some of the settings existed."""
    return from_dict({**BEFORE, **values}, source=source)


def parse(name: str, value: Any, *, label: str) -> Any:
    """The value of one setting, converted to its type and checked against its bounds.

    Args:
        name: the field of `TrainConfig`.
        value: text from a flag or the environment, or a plain TOML or JSON value.
        label: what the reader called it, such as ``--steps``; error messages begin with it.

    Raises:
        ConfigError: the wrong type, not one of the choices, or out of bounds.
    """
    converted = _convert(value, field_types()[name], label)
    check(name, converted, label=label)
    return converted


def parse_table(values: Mapping[str, Any], *, source: str) -> dict[str, Any]:
    """Settings by field name, converted and checked; ``-`` and ``_`` both work in a key.

    Raises:
        ConfigError: an unknown key, a wrong type, a value out of bounds; it names ``source``.
    """
    names = {key: setting_name(key, source=source) for key in values}
    return {name: parse(name, values[key], label=f"{source}: {key}") for key, name in names.items()}


def setting_name(key: str, *, source: str) -> str:
    """The field that a key of a file means.

    Raises:
        ConfigError: there is none; the message suggests the closest.
    """
    name = key.replace("-", "_")
    if name not in field_types():
        raise _unknown(key, source)
    return name


def load_json(path: Path) -> TrainConfig:
    """The settings that a run folder stores in ``config.json``.

    Raises:
        ConfigError: the file cannot be read, or holds something else.
    """
    try:
        values = json.loads(_read_text(path))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"cannot read {path}: {reason(error)}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path} is not a JSON object of settings")
    return from_stored(values, source=str(path))


def read_toml(path: Path) -> dict[str, Any]:
    """The tables and values of a TOML file.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        return tomllib.loads(_read_text(path))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {reason(error)}; name a TOML file") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(
            f"cannot read {path} as TOML: {reason(error)}; write lines like: steps = 50"
        ) from error


def _read_text(path: Path) -> str:
    """The text of a file of settings, which is never long; it may be a pipe."""
    with path.open("rb") as file:
        content = file.read(LARGEST_FILE + 1)
    if len(content) > LARGEST_FILE:
        raise ValueError(f"it is larger than {LARGEST_FILE >> 20} MiB")
    return content.decode("utf-8")


def _read_environ(environ: Mapping[str, str]) -> dict[str, Any]:
    """The settings in ``LAE_*`` variables.

    Others may exist, such as LAE_DEBUG, but one that is nearly a setting is a misspelling.
    """
    found: dict[str, Any] = {}
    for variable, text in environ.items():
        name = variable.removeprefix(ENV_PREFIX).lower()
        if not variable.startswith(ENV_PREFIX):
            continue
        if name in field_types():
            found[name] = parse(name, text, label=variable)
        elif close := closest(name, field_types(), cutoff=0.8):
            raise ConfigError(
                f"unknown environment variable {variable}; "
                f"did you mean {ENV_PREFIX}{close.upper()}?"
            )
    return found


def _unknown(key: str, source: str) -> ConfigError:
    hint = did_you_mean(key, field_types(), "`lae train --help` lists them")
    return ConfigError(f"{source}: unknown setting '{key}'; {hint}")


_TYPES = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    type(None): "'none'",
}
_BOOLS = dict.fromkeys(("1", "true", "yes", "on"), True) | dict.fromkeys(
    ("0", "false", "no", "off"), False
)


def _convert(value: Any, hint: Any, label: str) -> Any:
    """``value`` in the declared type: the first member of a union that takes it."""
    members = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    for member in members:
        try:
            return _to_type(value, member)
        except (ValueError, OverflowError):
            continue
    expected = " or ".join(_TYPES[member] for member in members)
    raise ConfigError(f"{label} must be {expected}, not {quoted(value)}")


def _to_type(value: Any, member: type) -> Any:
    """``value`` as a ``member``; text is read, but no number is rounded and nothing is guessed.

    Raises:
        ValueError, OverflowError: it is none.
    """
    if member is type(None) and (value is None or value == "none"):
        return None
    if member is bool and isinstance(value, str) and value.lower() in _BOOLS:
        return _BOOLS[value.lower()]
    if member is int and isinstance(value, int | str) and not isinstance(value, bool):
        return int(value)
    if member is float and isinstance(value, int | float | str) and not isinstance(value, bool):
        return float(value)
    if member in (bool, str) and isinstance(value, member):
        return value
    raise ValueError
