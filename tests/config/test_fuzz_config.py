"""Broken configuration: settings, or one line that says what is wrong."""

from __future__ import annotations

import json
import random
import string
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from helpers.fuzz_cases import (
    HOSTILE,
    WORDS,
    broken_bytes,
    broken_json,
    fuzz,
    json_bytes,
    randoms,
    refusal,
)
from lae_fast import config, runs
from lae_fast.config import ConfigError, TrainConfig
from lae_fast.config.settings import load_json, resolve, resumed

NAMES = list(config.field_types())
VALID = b"""# A comment
dataset = "digits"
latent-dim = 8
steps = 10
mh = true
step_size = "auto"
learning-rate = 1e-4
scale = 0.1
seed = 0x10
name = 'mine'
"""


def toml_value(value: Any) -> str:
    """How a value is written in TOML; what TOML cannot write, wrongly."""
    if isinstance(value, str):
        return json.dumps(value)
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value)


def toml_file(chance: random.Random) -> bytes:
    keys = [*NAMES, *(name.replace("_", "-") for name in NAMES), "a.b", '"\\u001b[31m"', "name\t"]
    extra = (
        "1979-05-27",
        "{ a = 1 }",
        "[1, 'a']",
        '"""\n"""',
        "1__0",
        "+nan",
        "0o777",
        "-0",
        "[" * 300,
        "[" * 3000,
        "{a=" * 2000,
    )
    lines = [
        f"{chance.choice(keys)} = {chance.choice([*map(toml_value, HOSTILE), *extra])}"
        for _ in range(chance.randrange(1, 4))
    ]
    if chance.random() < 0.1:
        lines.insert(0, chance.choice(("[train]", "[[a]]", "\ufeff", "[" * 2000)))
    return "\n".join(lines).encode(errors="surrogatepass")


@fuzz(150)
@given(randoms, st.binary(max_size=40))
def test_toml(tmp_path_factory: Any, chance: random.Random, noise: bytes) -> None:
    path = folder(tmp_path_factory) / "lae.toml"
    make = (lambda: broken_bytes(chance, VALID), lambda: toml_file(chance), lambda: noise)
    path.write_bytes(chance.choice(make)())
    refusal(lambda: resolve({}, file=path, environ={}), ConfigError)


@fuzz(150)
@given(randoms, st.text(max_size=20))
def test_environment(chance: random.Random, noise: str) -> None:
    names = [
        *NAMES,
        "DEBUG",
        "STEP",
        noise or "X",
        "\x1b[31m",
        *("".join(chance.choices(string.ascii_uppercase + "_", k=6)) for _ in range(2)),
    ]
    values = [*WORDS, noise, "1e999", "-1", "0", "true", "9" * 5000]
    environ = {
        f"LAE_{chance.choice(names).upper()}": chance.choice(values)
        for _ in range(chance.randrange(1, 3))
    }
    refusal(lambda: resolve({}, environ=environ), ConfigError)


@fuzz(150)
@given(randoms, st.binary(max_size=40))
def test_config_json(tmp_path_factory: Any, chance: random.Random, noise: bytes) -> None:
    run = folder(tmp_path_factory)
    path = run / "config.json"
    valid = TrainConfig().to_dict()
    make = (
        lambda: json_bytes(broken_json(chance, valid)),
        lambda: broken_bytes(chance, json_bytes(valid)),
        lambda: noise,
        lambda: b"[" * chance.choice((900, 5000, 200_000)),
    )
    path.write_bytes(chance.choices(make, (6, 3, 1, 0.1))[0]())
    refusal(lambda: load_json(path), ConfigError)
    refusal(lambda: resumed(runs.read_config(run), {"epochs": 3}), ConfigError)
    summary = runs.summarise(run)
    assert summary.status in ("starting", "crashed", "not a run")


def folder(factory: Any) -> Path:
    """One folder for all examples of a target."""
    path: Path = factory.getbasetemp() / "fuzz-config"
    path.mkdir(exist_ok=True)
    return path
