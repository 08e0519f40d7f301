"""Hostile values of every option: one line and a documented code, and nothing written elsewhere."""

from __future__ import annotations

import importlib
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import torch
from hypothesis import given

from helpers.fuzz_cases import (
    WORDS,
    assert_refused_well,
    bounded_memory,
    command,
    fingerprint,
    fuzz,
    randoms,
)
from helpers.small_runs import untrained
from lae_cli.main import COMMANDS
from lae_fast import config

NUMBERS = (
    "nan",
    "inf",
    "-inf",
    "0",
    "-0",
    "-1",
    "1",
    "2",
    "1e400",
    "1e-400",
    "5e-324",
    "1e308",
    "0.5",
    "2147483648",
    "9223372036854775807",
    "9223372036854775808",
    "1" + "0" * 400,
    "9" * 5000,
    "1_0",
    "１２",
    "0x10",
    "1,5",
    " 7",
    "--",
    "-",
    "",
)
DOCUMENTED = (1, 2, 3)
"""Numerical failure, bad input, no memory."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder to work in, with a run of a tiny model; nothing beside it may change."""
    around = tmp_path_factory.mktemp("fuzz-cli")
    (around / "secret").write_text("secret")
    inside = around / "inside"
    inside.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(inside)
        patch.setattr("lae_fast.train.watching.chain_check.DRAWS", 4)
        untrained(inside / "runs", hidden=8, latent_dim=2, depth=1, name="tiny")
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        yield inside
        torch.set_num_threads(threads)


def numeric(verb: str) -> list[tuple[click.Command, str, click.Parameter]]:
    """The options of a verb that take a number."""
    found = getattr(importlib.import_module(COMMANDS[verb][0]), verb)
    kinds = click.IntRange | click.FloatRange
    return [(found, p.opts[0], p) for p in found.params if isinstance(p.type, kinds)]


VERBS = [
    (verb, flag)
    for verb in COMMANDS
    if verb != "runs"
    for _, flag, _ in numeric(verb)
    # These would be served, or worked on, for long where the value is good.
    if verb not in ("dashboard", "dash", "reproduce", "experiment", "bench")
]
SETTINGS = [
    name for name, hint in config.field_types().items() if hint is not bool and hint != "str"
]


@fuzz(60)
@given(randoms)
def test_training_settings(
    place: Path, capsys: pytest.CaptureFixture[str], chance: random.Random
) -> None:
    """Through to a training of a moment, where the value is one that may be."""
    short = [
        "--hidden",
        "8",
        "--latent-dim",
        "2",
        "--depth",
        "1",
        "--steps",
        "1",
        "--epochs",
        "1",
        "--max-time",
        "0.001",
        "--run-root",
        "runs/fuzz",
        "--no-download",
    ]
    given = []
    for name in chance.sample(SETTINGS, chance.choice((1, 1, 2))):
        if name in ("run_root", "data_dir", "steps"):  # so many steps would be taken
            continue
        given.append(f"--{name.replace('_', '-')}={chance.choice((*NUMBERS, *NUMBERS, *WORDS))}")
    refused(place, capsys, "train", "-q", *short, *given)


CHEAP = {
    "sample": ("--count", "--seed"),
    "traverse": ("--steps", "--dim", "--span", "--seed"),
    "interpolate": ("--steps", "--seed"),
    "reconstruct": ("--images", "--noise", "--seed"),
    "latents": ("--images", "--seed"),
}
"""Options whose good values ask for no long work; of the others only bad values are given."""


@fuzz(60)
@given(randoms)
def test_numbers_of_the_other_verbs(
    place: Path, capsys: pytest.CaptureFixture[str], chance: random.Random
) -> None:
    verb, flag = chance.choice(VERBS)
    value = chance.choice((*NUMBERS, *WORDS))
    if flag not in CHEAP.get(verb, ()) and is_number(value):
        value = chance.choice(("nan", "-inf", "-1", "-0.5", "-" + "9" * 400))
    refused(place, capsys, verb, "tiny", "--run-root", "runs", f"{flag}={value}")


def is_number(text: str) -> bool:
    try:
        return float(text) > 0
    except ValueError:
        return False


def refused(place: Path, capsys: pytest.CaptureFixture[str], *args: str) -> None:
    before = fingerprint_around(place)
    with bounded_memory():
        code, _, err = command(capsys, *args)
    assert_refused_well(code, err if code else "", DOCUMENTED)
    assert fingerprint_around(place) == before


def fingerprint_around(place: Path) -> object:
    shutil.rmtree(place / "runs" / "fuzz", ignore_errors=True)
    return {k: v for k, v in fingerprint(place.parent).items() if not k.startswith("inside/runs")}
