"""Hostile values of every option: one line and a documented code, and nothing written elsewhere."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import torch
from hypothesis import given

from helpers.command_line import VERBS, run
from helpers.fuzz_cases import (
    WORDS,
    assert_refused_well,
    bounded_memory,
    fingerprint,
    fuzz,
    randoms,
)
from helpers.small_runs import untrained
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


NUMERIC = [
    (words[0], option.opts[0])
    for words, command in VERBS.items()
    # These would be served, or worked on, for long where the value is good.
    if words[0] not in ("runs", "dashboard", "dash", "reproduce", "experiment", "bench")
    for option in command.params
    if isinstance(option.type, click.IntRange | click.FloatRange)
]
"""Verbs, each with an option that takes a number."""
SETTINGS = [
    name
    for name, kind in config.field_types().items()
    # Folders are made where they are named, and many steps would be taken.
    if kind is not bool and name not in ("run_root", "data_dir", "steps")
]


@fuzz(60)
@given(randoms)
def test_training_settings(
    place: Path, capsys: pytest.CaptureFixture[str], chance: random.Random
) -> None:
    """Through to a training of a moment, where the value is one that may be."""
    short = ["--hidden=8", "--latent-dim=2", "--depth=1", "--steps=1", "--epochs=1"]
    short += ["--max-time=0.001", "--run-root=runs/fuzz", "--no-download"]
    given = [
        f"--{name.replace('_', '-')}={chance.choice((*NUMBERS, *NUMBERS, *WORDS))}"
        for name in chance.sample(SETTINGS, chance.choice((1, 1, 2)))
    ]
    refused(place, capsys, "train", "-q", *short, *given)


CHEAP = {
    "sample": ("--count", "--seed"),
    "traverse": ("--steps", "--dim", "--span", "--seed"),
    "interpolate": ("--steps", "--seed"),
    "reconstruct": ("--images", "--noise", "--seed"),
    "latents": ("--images", "--seed"),
}
"""Options whose good values ask for no long work; of the others only bad values are given."""


def is_good(text: str) -> bool:
    """Whether the text is a number that some option takes."""
    try:
        return float(text) >= 0
    except ValueError:
        return False


BAD = [text for text in (*NUMBERS, *WORDS, "-0.5", "-" + "9" * 400) if not is_good(text)]


@fuzz(60)
@given(randoms)
def test_numbers_of_the_other_verbs(
    place: Path, capsys: pytest.CaptureFixture[str], chance: random.Random
) -> None:
    verb, flag = chance.choice(NUMERIC)
    cheap = flag in CHEAP.get(verb, ())
    value = chance.choice((*NUMBERS, *WORDS) if cheap else BAD)
    code = refused(place, capsys, verb, "tiny", "--run-root", "runs", f"{flag}={value}")
    assert cheap or code == 2


def refused(place: Path, capsys: pytest.CaptureFixture[str], *args: str) -> int:
    """Run ``lae ARGS``, which may write nothing but runs; the exit code."""
    before = fingerprint_around(place)
    with bounded_memory():
        code, _, err = run(capsys, *args)
    assert_refused_well(code, err if code else "", DOCUMENTED)
    assert fingerprint_around(place) == before
    return code


def fingerprint_around(place: Path) -> object:
    shutil.rmtree(place / "runs" / "fuzz", ignore_errors=True)
    return {k: v for k, v in fingerprint(place.parent).items() if not k.startswith("inside/runs")}
