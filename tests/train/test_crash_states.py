"""A few of the states that a power failure may leave; `make crash-states` tries a thousand."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from lae_fast.train import train
from tools import crash_states


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
@pytest.mark.slow
def test_no_epoch_is_lost_or_told_twice(tmp_path: Path) -> None:
    counts = crash_states.try_states(tmp_path, 20)
    assert sum(counts.values()) == 20
    assert counts[""] > 10
    assert counts.keys() <= {"", crash_states.NO_RUN}


def disk_after(*steps: crash_states.Step, chosen: set[int] | None = None) -> crash_states.Disk:
    places = set(range(len(steps))) if chosen is None else chosen
    return crash_states.lay_out(list(steps), places, {})


def test_what_a_sync_makes_certain() -> None:
    step = crash_states.Step
    record = crash_states.Record(
        [
            step("link", 0, ".a.tmp"),
            step("write", 0, data=b"new"),
            step("sync", 0),
            step("link", 0, "a", ".a.tmp"),
            step("sync", name="."),
        ]
    )
    assert record.certain(2) == set()
    assert record.certain(3) == {1}
    assert record.certain(5) == {0, 1, 3}


def test_the_disk_follows_the_names() -> None:
    step = crash_states.Step
    steps = [
        step("link", 0, "a"),
        step("write", 0, data=b"old"),
        step("link", 1, ".a.tmp"),
        step("write", 1, data=b"new"),
        step("link", 1, "a", ".a.tmp"),
    ]
    assert disk_after(*steps) == {"a": b"new"}
    assert disk_after(*steps, chosen={0, 1, 2, 3}) == {"a": b"old", ".a.tmp": b"new"}
    assert disk_after(*steps, chosen={0, 1, 2, 4}) == {"a": b""}
    assert disk_after(*steps, chosen={0, 1, 4}) == {"a": b""}


def test_strace_is_understood() -> None:
    def text(word: str) -> str:
        return '"' + "".join(f"\\x{byte:02x}" for byte in word.encode()) + '"'

    lines = [
        f"7 openat(AT_FDCWD, {text('/r/a')}, O_WRONLY|O_CREAT|O_EXCL, 0666) = 3",
        f"7 write(3, {text('hi')}, 2) = 2",
        "7 fsync(3 <unfinished ...>",
        f"8 openat(AT_FDCWD, {text('/elsewhere')}, O_RDONLY) = 4",
        "7 <... fsync resumed>) = 0",
        "7 close(3) = 0",
        f"7 rename({text('/r/a')}, {text('/r/b')}) = 0",
        f"7 openat(AT_FDCWD, {text('/r')}, O_RDONLY|O_DIRECTORY) = 3",
        "7 fsync(3) = 0",
        f"7 unlink({text('/r/none')}) = -1 ENOENT (No such file or directory)",
    ]
    steps = crash_states.parse("\n".join(lines), "/r").steps
    assert [step.kind for step in steps] == ["link", "write", "sync", "link", "sync"]
    assert steps[1].data == b"hi"
    assert (steps[3].name, steps[3].old, steps[4].name) == ("b", "a", ".")


def test_a_write_that_is_missing_leaves_zeros_before_later_ones() -> None:
    step = crash_states.Step
    steps = [
        step("link", 0, "a"),
        step("write", 0, data=b"one"),
        step("write", 0, at=3, data=b"two"),
        step("write", 0, at=6, data=b"end"),
    ]
    assert disk_after(*steps, chosen={0, 1, 3}) == {"a": b"one\0\0\0end"}
    assert disk_after(*steps, chosen={0, 1, 2}) == {"a": b"onetwo"}


def test_a_state_that_was_certain_must_be_gone_on_from(
    tmp_path: Path,
) -> None:
    """A run that begins anew ends with the same weights, and still has lost what was saved."""
    torch.set_num_threads(1)
    list(train(crash_states.config(tmp_path)))
    run = tmp_path / "run"
    want = crash_states.weights(run)
    certain: crash_states.Disk = {
        str(path.relative_to(tmp_path)): None if path.is_dir() else path.read_bytes()
        for path in tmp_path.rglob("*")
    }
    lost = {name: content for name, content in certain.items() if "/state" not in name}
    crashed = tmp_path / "crashed"
    assert crash_states.check(certain, certain, crashed, want) == ""
    assert "whose state was certain" in crash_states.check(lost, certain, crashed, want)
    assert "settings are lost" in crash_states.check({"run": None}, certain, crashed, want)
    assert crash_states.check({"run": None}, {}, crashed, want) == crash_states.NO_RUN
