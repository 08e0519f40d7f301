"""Broken weights and states: used, or refused in one line before they take memory."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import random
import shutil
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given

from helpers.fuzz_cases import (
    HOSTILE,
    bounded_memory,
    broken_bytes,
    broken_json,
    fingerprint,
    fuzz,
    json_bytes,
    randoms,
    refusal,
)
from lae_fast.analysis.saved import open_run
from lae_fast.config import ConfigError, TrainConfig
from lae_fast.config.settings import resumed
from lae_fast.data import DataError
from lae_fast.runs import RunError, read_config
from lae_fast.runs.checkpoint import CheckpointError
from lae_fast.train import TrainingError, train

REFUSALS = (CheckpointError, ConfigError, DataError, RunError)


@pytest.fixture(scope="module")
def valid(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a finished run of a tiny model."""
    root = tmp_path_factory.mktemp("fuzz-checkpoints")
    pixels = np.random.default_rng(0).integers(0, 256, (40, 5, 5), dtype=np.uint8)
    np.save(root / "images.npy", pixels)
    config = TrainConfig(
        dataset=str(root / "images.npy"),
        hidden=8,
        latent_dim=2,
        depth=1,
        steps=1,
        batch_size=16,
        epochs=1,
        device="cpu",
        run_root=str(root),
        name="whole",
        checkpoint_interval=0.0,
    )
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    list(train(config))
    yield root
    torch.set_num_threads(threads)


def broken_tensors(chance: random.Random, content: bytes) -> bytes:
    """A safetensors file with damage anywhere, with another header, or with odd numbers."""
    size = struct.unpack("<Q", content[:8])[0]
    header, numbers = json.loads(content[8 : 8 + size]), content[8 + size :]
    match chance.randrange(5):
        case 0 | 1:
            return broken_bytes(chance, content)
        case 2:
            header = broken_json(chance, header)
        case 3:
            facts = json.dumps(broken_facts(chance, header))
            header.setdefault("__metadata__", {})["facts"] = facts
        case 4:
            odd = np.array([np.nan, np.inf, -1e38, 1e-45], np.float32).tobytes()
            at = 4 * chance.randrange(len(numbers) // 4)
            numbers = numbers[:at] + odd + numbers[at + len(odd) :]
    head = json_bytes(header)
    claimed = chance.choice((len(head),) * 20 + (0, 2**63, 2**40, len(head) + 10**6))
    return struct.pack("<Q", claimed) + head + numbers


def broken_facts(chance: random.Random, header: dict[str, Any]) -> Any:
    facts = header.get("__metadata__", {}).get("facts", "{}")
    return broken_json(chance, json.loads(facts) or {"a": 1})


def broken_description(chance: random.Random, content: bytes) -> bytes:
    if chance.random() < 0.3:
        return broken_bytes(chance, content)
    about = json.loads(content)
    if chance.random() < 0.4:
        about["config"][chance.choice(list(about["config"]))] = chance.choice(HOSTILE)
        return json_bytes(about)
    return json_bytes(broken_json(chance, about))


def odd_file(chance: random.Random, path: Path, outside: Path) -> None:
    """In a checkpoint's place: a pipe, a folder, a link, a giant."""
    path.unlink()
    match chance.randrange(4):
        case 0:
            os.mkfifo(path)
        case 1:
            path.mkdir()
        case 2:
            path.symlink_to(chance.choice((outside, Path("/dev/zero"), path, Path("/none"))))
        case 3:
            with path.open("wb") as file:
                file.truncate(chance.choice((0, 7, 1 << 36)))


def copied(valid: Path, chance: random.Random) -> Path:
    run = valid / "broken"
    shutil.rmtree(run, ignore_errors=True)
    shutil.copytree(valid / "whole", run)
    return run


@fuzz(80)
@given(randoms)
def test_weights(valid: Path, chance: random.Random) -> None:
    run = copied(valid, chance)
    folder = run / "checkpoints"
    weights, about = folder / "best.safetensors", folder / "best.json"
    match chance.randrange(7):
        case 0 | 1 | 2:
            weights.write_bytes(broken_tensors(chance, weights.read_bytes()))
        case 3 | 4 | 5:
            about.write_bytes(broken_description(chance, about.read_bytes()))
        case _:
            odd_file(chance, chance.choice((weights, about)), valid / "images.npy")
    with bounded_memory():
        refusal(functools.partial(use, run), CheckpointError)


def use(run: Path) -> None:
    saved = open_run(run)
    with torch.no_grad():
        saved.as_images(saved.model.decode(torch.zeros(1, saved.config.latent_dim)))


@fuzz(60)
@given(randoms)
def test_states(valid: Path, chance: random.Random) -> None:
    run = copied(valid, chance)
    folder = run / "checkpoints"
    state = folder / "state.safetensors"
    (folder / "state-previous.safetensors").unlink(missing_ok=True)
    outside = fingerprint(valid / "whole")
    match chance.randrange(12):
        case 0:
            odd_file(chance, state, valid / "images.npy")
        case 1:
            shutil.rmtree(folder)
            folder.symlink_to(valid / "whole" / "checkpoints")
        case 2:
            (folder / ".last.safetensors.tmp").symlink_to(valid / "whole" / "config.json")
        case _:
            state.write_bytes(broken_tensors(chance, state.read_bytes()))
    # Numbers that are there but make no sense fail numerically, as they may.
    with bounded_memory(), contextlib.suppress(TrainingError):
        refusal(functools.partial(go_on, run), *REFUSALS)
    assert fingerprint(valid / "whole") == outside


def go_on(run: Path) -> None:
    config = resumed(read_config(run), {"epochs": 2, "max_time": 0.01})
    for _ in train(config, resume=run):
        pass
