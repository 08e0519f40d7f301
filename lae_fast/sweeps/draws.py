"""How the values of one option are drawn: from a list, or from a range."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lae_fast.config import field_types, settings
from lae_fast.errors import ConfigError
from lae_fast.sweeps.keys import check_keys

RANGE_KEYS = ("low", "high", "log", "int")
_DIGITS = 4
"""Significant digits of a drawn number: few, because run folders are named after it."""


@dataclass(frozen=True)
class Choice:
    """One of ``values``, all equally likely."""

    values: tuple[Any, ...]

    def draw(self, rng: random.Random) -> Any:
        """A value."""
        return rng.choice(self.values)


@dataclass(frozen=True)
class Range:
    """A number between ``low`` and ``high``, both included; uniform, or uniform in its logarithm.

    ``whole`` draws whole numbers. With ``log`` these are rounded, from a range that is wider by 0.5
    at both ends: without that, the ends would be half as likely as their neighbours.
    """

    low: float
    high: float
    log: bool
    whole: bool

    def draw(self, rng: random.Random) -> float | int:
        """A value."""
        if self.whole and not self.log:
            return rng.randint(int(self.low), int(self.high))
        margin = 0.5 if self.whole else 0.0
        low, high = self.low - margin, self.high + margin
        value = (
            math.exp(rng.uniform(math.log(low), math.log(high)))
            if self.log
            else rng.uniform(low, high)
        )
        if self.whole:
            return int(min(max(round(value), self.low), self.high))
        return min(max(float(f"{value:.{_DIGITS}g}"), self.low), self.high)


def make_draw(name: str, value: Any, *, label: str) -> Choice | Range:
    """How ``[random]`` draws one option: from a list of values, or from ``{low, high, log, int}``.

    Raises:
        ConfigError: ``value`` is neither, or has values that the option does not take.
    """
    if isinstance(value, list):
        return Choice(parse_values(name, value, label=label))
    if isinstance(value, Mapping):
        return _range(name, value, label)
    raise ConfigError(
        f"{label} must be a list of values, or {{low = ..., high = ...}}, not {value!r}"
    )


def parse_values(name: str, values: Any, *, label: str) -> tuple[Any, ...]:
    """The values of a list, converted and checked.

    Raises:
        ConfigError: no list, an empty one, the same value twice, or a bad value.
    """
    if not isinstance(values, list):
        raise ConfigError(f"{label} must be a list of values, such as [{values!r}]")
    if not values:
        raise ConfigError(f"{label} has no values")
    parsed = tuple(settings.parse(name, value, label=label) for value in values)
    for index, value in enumerate(parsed):
        if value in parsed[:index]:
            raise ConfigError(f"{label} has {value!r} twice")
    return parsed


def _range(name: str, table: Mapping[str, Any], label: str) -> Range:
    check_keys(table, RANGE_KEYS, source=label)
    low, high = (_end(name, table, end, label) for end in ("low", "high"))
    if not low < high:
        raise ConfigError(f"{label}: low must be less than high")
    log, whole = (_switch(table, key, label) for key in ("log", "int"))
    if log and low <= 0:
        raise ConfigError(f"{label}: low must be above 0 where log = true")
    whole = whole or float not in _types(name)
    if whole and not (float(low).is_integer() and float(high).is_integer()):
        raise ConfigError(f"{label}: low and high must be whole numbers")
    return Range(low, high, log, whole)


def _types(name: str) -> tuple[type, ...]:
    hint = field_types()[name]
    return getattr(hint, "__args__", (hint,))


def _end(name: str, table: Mapping[str, Any], end: str, label: str) -> float:
    value = table.get(end)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ConfigError(f"{label}: {end} must be a number")
    if not {int, float} & set(_types(name)):
        raise ConfigError(f"{label} is not a number; give a list of values")
    settings.parse(name, value, label=f"{label}: {end}")
    return value


def _switch(table: Mapping[str, Any], key: str, label: str) -> bool:
    value = table.get(key, False)
    if not isinstance(value, bool):
        raise ConfigError(f"{label}: {key} must be true or false")
    return value
