"""Reads the file of a sweep and checks every run that it asks for, before any run starts."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import math
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lae_fast import runs
from lae_fast.config import DATASETS, TrainConfig, settings
from lae_fast.errors import ConfigError
from lae_fast.sweeps.draws import make_draw, parse_values
from lae_fast.sweeps.keys import check_keys

KEYS = ("name", "seeds", "base", "grid", "random", "slurm", "ray")
PLACES = ("name", "run_root", "data_dir", "download")
"""Settings of where a run and its data lie; they are the same for every point."""
MOST_POINTS = 10_000
LONGEST_LABEL = 90


@dataclass(frozen=True)
class Wanted:
    """One run that the file asks for.

    Attributes:
        label: made from the settings that vary, such as ``steps-10_no-mh_seed-0``.
        config: all settings; ``name`` and ``run_root`` are set when its folder is known.
    """

    label: str
    config: TrainConfig


@dataclass(frozen=True)
class Sweep:
    """A sweep as its file describes it.

    Attributes:
        name: of the sweep and of its folder.
        file: where it was read from.
        root: folder of its run folders.
        points: the runs, in order.
        varied: the options of ``[grid]`` or ``[random]``, in the file's order.
        slurm, ray: options of each job there, from the tables of these names.
    """

    name: str
    file: Path
    root: Path
    points: tuple[Wanted, ...]
    varied: tuple[str, ...]
    slurm: Mapping[str, Any]
    ray: Mapping[str, Any]


def read(file: Path, flags: Mapping[str, Any]) -> Sweep:
    """Read a sweep.

    Args:
        file: TOML with ``[base]``, ``[grid]`` or ``[random]``, ``seeds`` and ``name``.
        flags: settings that override ``[base]`` and the environment: ``run_root``, ``data_dir``.

    Raises:
        ConfigError: anything in it that cannot be used; the message names the key or the point.
    """
    tables = settings.read_toml(file)
    check_keys(tables, KEYS, source=str(file))
    for key in ("base", "grid", "random", "slurm", "ray"):
        if not isinstance(tables.get(key, {}), dict):
            raise ConfigError(f"{file}: {key} must be a table: [{key}]")
    base = _base(tables, file, flags)
    name = _name(tables, file)
    root = Path(str(base.pop("run_root", TrainConfig.run_root))) / name
    varied, combinations = _combinations(tables, file)
    seeds = _seeds(tables, file)
    _refuse_twice(tables, varied, file)
    points = tuple(_points(base, varied, combinations, seeds, str(file)))
    options = {key: tables.get(key, {}) for key in ("slurm", "ray")}
    return Sweep(name, file, root, points, varied, **options)


def identity(config: TrainConfig) -> TrainConfig:
    """The settings without `PLACES`: two points with equal ones are the same run."""
    plain = {name: getattr(TrainConfig, name) for name in PLACES}
    return dataclasses.replace(config, **plain)


def _base(tables: Mapping[str, Any], file: Path, flags: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that all points share."""
    given = settings.parse_table(tables.get("base", {}), source=f"{file}: [base]")
    if "name" in given:
        raise ConfigError(f"{file}: [base] name: every point has a name of its own; use the top")
    base = settings.layered(given, flags)
    base.pop("name", None)
    if base.get("init_from") is not None:  # now: the points have another run root
        found = runs.find(base.get("run_root", TrainConfig.run_root), base["init_from"])
        base["init_from"] = str(found.resolve())
    return base


def _name(tables: Mapping[str, Any], file: Path) -> str:
    name = tables.get("name", re.sub(r"[^A-Za-z0-9._-]+", "-", file.stem).lstrip(".") or "sweep")
    if not isinstance(name, str) or not runs.is_name(name):
        raise ConfigError(
            f"{file}: name must be 1 to 100 letters, digits, '.', '_' or '-', and not begin with "
            f"'.', not {name!r}"
        )
    return name


def _seeds(tables: Mapping[str, Any], file: Path) -> tuple[int, ...] | None:
    """``seeds = 3`` is [0, 1, 2]; None when the file has none."""
    value = tables.get("seeds")
    if value is None:
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        if not 1 <= value <= MOST_POINTS:
            raise ConfigError(f"{file}: seeds must be 1 to {MOST_POINTS}, or a list of seeds")
        return tuple(range(value))
    return parse_values("seed", value, label=f"{file}: seeds")


def _combinations(
    tables: Mapping[str, Any], file: Path
) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
    """The options that vary, and their values point by point."""
    if "grid" in tables and "random" in tables:
        raise ConfigError(f"{file}: [grid] and [random] exclude each other; keep one")
    if tables.get("grid"):
        return _grid(tables["grid"], f"{file}: [grid]")
    if "random" in tables:
        return _random(tables["random"], f"{file}: [random]")
    if "seeds" not in tables:
        raise ConfigError(f"{file}: nothing varies; add [grid], [random] or seeds")
    return (), [()]


def _grid(table: Mapping[str, Any], source: str) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
    names = [_varying(key, source) for key in table]
    columns = [
        parse_values(name, values, label=f"{source} {key}")
        for name, (key, values) in zip(names, table.items(), strict=True)
    ]
    _refuse_too_many(math.prod(map(len, columns)), source)
    return tuple(names), list(itertools.product(*columns))


def _random(table: Mapping[str, Any], source: str) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
    """Distinct draws; each option has its own generator, so that a larger ``count`` adds draws."""
    count = _whole(table, "count", None, 1, source)
    seed = _whole(table, "seed", 0, 0, source)
    _refuse_too_many(count, source)
    keys = [key for key in table if key not in ("count", "seed")]
    if not keys:
        raise ConfigError(f"{source} names no option to draw")
    names = [_varying(key, source) for key in keys]
    draws = [
        make_draw(name, table[key], label=f"{source} {key}")
        for name, key in zip(names, keys, strict=True)
    ]
    streams = [random.Random(f"{seed}/{name}") for name in names]
    found: dict[tuple[Any, ...], None] = {}
    for _ in range(100 * count):
        values = (draw.draw(rng) for draw, rng in zip(draws, streams, strict=True))
        found.setdefault(tuple(values))
        if len(found) == count:
            return tuple(names), list(found)
    raise ConfigError(
        f"{source}: count is {count}, but only {len(found)} different points were drawn"
    )


def _whole(table: Mapping[str, Any], key: str, default: int | None, least: int, source: str) -> int:
    value = table.get(key, default)
    if value is None:
        raise ConfigError(f"{source} needs {key}: how many points to draw")
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        hint = " (seeds of the runs are `seeds`, at the top)" if key == "seed" else ""
        raise ConfigError(f"{source} {key} must be a whole number, at least {least}{hint}")
    return value


def _varying(key: str, source: str) -> str:
    name = settings.setting_name(key, source=source)
    if name == "seed":
        raise ConfigError(f"{source} seed: put seeds = [0, 1, 2] at the top of the file")
    if name in PLACES:
        raise ConfigError(f"{source} {key} cannot vary; set it in [base]")
    return name


def _refuse_twice(tables: Mapping[str, Any], varied: tuple[str, ...], file: Path) -> None:
    """Refuse settings that are fixed in ``[base]`` and varied too: one of the two is a mistake."""
    base = {key.replace("-", "_") for key in tables.get("base", {})}
    for name in varied:
        if name in base:
            raise ConfigError(f"{file}: {name} is fixed in [base] and varies; keep one")
    if "seed" in base and "seeds" in tables:
        raise ConfigError(f"{file}: seed is fixed in [base] and seeds vary; keep one")


def _points(
    base: Mapping[str, Any],
    varied: tuple[str, ...],
    combinations: Sequence[tuple[Any, ...]],
    seeds: tuple[int, ...] | None,
    source: str,
) -> Iterator[Wanted]:
    _refuse_too_many(len(combinations) * len(seeds or (0,)), source)
    for values in combinations:
        for seed in [{"seed": seed} for seed in seeds] if seeds is not None else [{}]:
            chosen = dict(zip(varied, values, strict=True)) | seed
            label = label_of(chosen)
            yield Wanted(label, _config({**base, **chosen}, label, source))


def label_of(values: Mapping[str, Any]) -> str:
    """A name for a folder: ``latent-dim-8_step-size-0.001_no-mh_seed-0``."""
    words = [_word(name.replace("_", "-"), value) for name, value in values.items()]
    label = "_".join(word for word, _ in words)
    if len(label) <= LONGEST_LABEL and all(exact for _, exact in words):
        return label
    digest = hashlib.sha256(repr(list(values.items())).encode()).hexdigest()[:8]
    return f"{label[: LONGEST_LABEL - 9]}-{digest}"


def _word(flag: str, value: Any) -> tuple[str, bool]:
    """One setting as part of a name, and whether the value can be told from any other."""
    if isinstance(value, bool):
        return (flag if value else f"no-{flag}"), True
    text = str(value)
    slug = re.sub(r"[^A-Za-z0-9.-]+", "-", text).strip("-.")
    return f"{flag}-{slug}", slug == text


def _config(values: Mapping[str, Any], label: str, source: str) -> TrainConfig:
    try:
        config = settings.from_dict(values)
    except ConfigError as error:
        raise ConfigError(f"{source}: point {label}: {error}") from error
    if config.dataset not in DATASETS and not Path(config.dataset).expanduser().exists():
        raise ConfigError(
            f"{source}: point {label}: dataset '{config.dataset}' is neither a file or folder nor "
            f"one of {', '.join(DATASETS)}"
        )
    return config


def _refuse_too_many(count: int, source: str) -> None:
    if count > MOST_POINTS:
        raise ConfigError(f"{source}: {count} points are too many; at most {MOST_POINTS}")
