"""States and weights that are not what was written are refused; so is every flipped bit."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from helpers.command_line import run as run_cli
from lae_fast.errors import CheckpointError
from lae_fast.runs import checkpoint
from lae_fast.runs.verify import verify

FLIPS = int(os.environ.get("BIT_FLIPS", "400"))
"""Random single bits that are flipped in each kind of file."""
TENSORS = {
    "phi": torch.arange(12, dtype=torch.float32).view(3, 4) / 7,
    "rng": torch.tensor([5, 9]),
    "step": torch.tensor(3.0),
    "flags": torch.tensor([True, False]),
}
FACTS = {"meter": {"epoch": 3, "loss": 91.25}, "seed": 1, "threads": 1}


def write_state(run: Path) -> Path:
    checkpoint.write_state(run, "state", "state-previous", TENSORS, FACTS)
    return run / "checkpoints" / "state.safetensors"


def read_state(run: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    return checkpoint.read_state(run, "state")


def write_weights(run: Path) -> Path:
    return checkpoint.write(run, "best", TENSORS, FACTS)


def write_description(run: Path) -> Path:
    return write_weights(run).with_suffix(".json")


def same(found: tuple[dict[str, torch.Tensor], dict[str, Any]], facts: dict[str, Any]) -> bool:
    """Bit for bit."""
    tensors, about = found
    return (
        about == facts
        and tensors.keys() == TENSORS.keys()
        and all(
            value.dtype == TENSORS[key].dtype
            and value.shape == TENSORS[key].shape
            and torch.equal(value, TENSORS[key])
            for key, value in tensors.items()
        )
    )


@pytest.mark.parametrize(
    ("write", "read"),
    [
        (write_state, read_state),
        (write_weights, checkpoint.read),
        (write_description, checkpoint.read),
    ],
)
def test_a_flipped_bit_is_refused_or_changes_nothing(
    tmp_path: Path, write: Callable[[Path], Path], read: Callable[[Path], Any]
) -> None:
    path = write(tmp_path)
    whole, want = path.read_bytes(), read(tmp_path)[1]
    assert same(read(tmp_path), want)
    bits = range(8 * len(whole))
    refused = 0
    for bit in random.Random(0).sample(bits, min(FLIPS, len(bits))):
        broken = bytearray(whole)
        broken[bit // 8] ^= 1 << bit % 8
        path.write_bytes(broken)
        try:
            found = read(tmp_path)
        except CheckpointError:
            refused += 1
        else:
            assert same(found, want), f"bit {bit} of {path.name}"
    assert refused > 0.8 * min(FLIPS, len(bits))


def test_files_of_format_1_are_read_without_a_digest(tmp_path: Path) -> None:
    path = write_description(tmp_path)
    about = json.loads(path.read_text())
    assert about.pop("format") == 2
    assert about.pop("digest")
    path.write_text(json.dumps({"format": 1, **about}))
    assert checkpoint.read(tmp_path)[1]["seed"] == 1
    path.write_text(json.dumps({"format": 2, **about}))
    with pytest.raises(CheckpointError, match="damaged"):
        checkpoint.read(tmp_path)


def test_verify_names_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    golden = Path(__file__).parents[1] / "golden" / "1" / "lae"
    run = tmp_path / "run"
    shutil.copytree(golden, run)
    assert all(not found.problem for found in verify(run))
    assert any("no digest" in found.detail for found in verify(run))
    write_state(run)
    write_weights(run)
    assert all(not found.problem for found in verify(run))
    state = run / "checkpoints" / "state.safetensors"
    broken = bytearray(state.read_bytes())
    broken[-1] ^= 1
    state.write_bytes(broken)
    (run / "snapshots" / "000001.npz").write_bytes(b"PK")
    (run / "config.json").write_text("{}")
    problems = {found.file: found.problem for found in verify(run) if found.problem}
    assert problems.keys() == {
        "config.json",
        "checkpoints/state.safetensors",
        "snapshots/000001.npz",
    }
    assert "damaged" in problems["checkpoints/state.safetensors"]
    code, out, err = run_cli(capsys, "doctor", str(run))
    assert (code, err) == (1, "")
    assert "FAIL  checkpoints/state.safetensors" in out
    assert "the state before it" in out
    assert "nothing but its pictures" in out
    assert "restore it from a copy" in out
    assert "allow_pickle" not in out


def test_events_behind_many_broken_lines_are_counted(tmp_path: Path) -> None:
    golden = Path(__file__).parents[1] / "golden" / "1" / "lae"
    run = tmp_path / "run"
    shutil.copytree(golden, run)
    (log,) = (found for found in verify(run) if found.file == "events.jsonl")
    lines = (run / "events.jsonl").read_text()
    (run / "events.jsonl").write_text("broken\n" * 10_001 + lines)
    (found,) = (found for found in verify(run) if found.file == "events.jsonl")
    assert (found.problem, found.detail) == ("", f"{log.detail}, 10001 torn lines")
