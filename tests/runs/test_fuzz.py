"""Broken run folders and names: shown as what they are; nothing outside is touched."""

from __future__ import annotations

import functools
import io
import json
import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers import command_line
from helpers.fuzz_cases import (
    WORDS,
    assert_refused_well,
    bounded_memory,
    broken_bytes,
    broken_json,
    fingerprint,
    fuzz,
    is_one_line,
    json_bytes,
    randoms,
    refusal,
)
from helpers.run_folders import NOW, write_run
from lae_cli.dashboard.charts import metrics
from lae_cli.dashboard.following.frame import Follower
from lae_cli.dashboard.following.replay import Replay
from lae_fast import runs
from lae_fast.runs import RunError
from lae_fast.runs.events import Heartbeat


@pytest.fixture(scope="module")
def valid(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with one whole run to break."""
    root = tmp_path_factory.mktemp("fuzz-runs")
    write_run(root, "whole", epochs=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lae_cli.commands.runs.ANSWER_WITHIN", 0.0)
        yield root


def broken_log(chance: random.Random, valid: bytes) -> bytes:
    """A log with damaged bytes, or with lines whose values are replaced, repeated, reordered."""
    if chance.random() < 0.4:
        return broken_bytes(chance, valid)
    lines = valid.splitlines()[: chance.choice((3, 20, 60))]
    for _ in range(chance.randrange(1, 6)):
        at = chance.randrange(len(lines))
        match chance.randrange(5):
            case 0:
                lines.insert(at, lines[chance.randrange(len(lines))])
            case 1:
                lines.insert(at, chance.choice((b"null", b"[]", b"{}", b"\0", b"[" * 3000, b" ")))
            case 2 if len(lines) > 1:
                del lines[at]
            case _:
                event = json.loads(valid.splitlines()[chance.randrange(20)])
                lines[at] = json_bytes(broken_json(chance, event))
    return b"\n".join(lines) + b"\n" * chance.randrange(2)


def read_everything(run: Path) -> None:
    """All readers of a log, and what the dashboard draws of it."""
    for quick in (True, False):
        runs.summarise(run, quick=quick, now=NOW)
    runs.last_answer(run, "stop")
    for form in runs.EXPORT_FORMATS:
        refusal(functools.partial(runs.export, run, form, io.StringIO()), RunError)
    follower = Follower(run)
    while follower.poll():
        pass
    live = follower.frame(now=NOW)
    for frame in (live, Replay(NOW, NOW, NOW, 1).frame(live)):
        assert 0 <= frame.share <= 1
        assert all(is_one_line(finding.text) for finding in frame.findings())
        for metric in metrics.at_a_glance(frame):
            for axis in ("iteration", "epoch", "time"):
                metrics.draw(metric, (frame,), axis)


@fuzz(60)
@given(randoms)
def test_event_logs(valid: Path, chance: random.Random) -> None:
    run = valid / "whole"
    log = run / "events.jsonl"
    original = log.read_bytes()
    try:
        log.write_bytes(broken_log(chance, original))
        with bounded_memory():
            read_everything(run)
    finally:
        log.write_bytes(original)


def odd_entry(chance: random.Random, path: Path, outside: Path) -> None:
    """In a file's place: nothing, a folder, a pipe, a link, a sparse giant, noise."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    match chance.randrange(8):
        case 0:
            path.mkdir()
        case 1:
            os.mkfifo(path)
        case 2:
            path.symlink_to(outside / chance.choice(("secret", "events.jsonl", ".", "none")))
        case 3:
            path.symlink_to(
                chance.choice(("/dev/zero", "/dev/full", path.name, "..", "/proc/self/mem"))
            )
        case 4:
            with path.open("wb") as file:
                file.truncate(1 << 22)
        case 5:
            path.write_bytes(chance.randbytes(chance.choice((0, 1, 100))))
        case 6:
            path.write_text(chance.choice(("{}", "null", "[]", "1e999", '{"dataset": 3}')))


ENTRIES = ("config.json", "events.jsonl", "command", "checkpoints", "snapshots", "stray")
VERBS = (
    ("ls",),
    ("ls", "--json"),
    ("show", "odd"),
    ("show", "odd", "--json"),
    ("export", "odd"),
    ("export", "odd", "--format", "json"),
    ("stop", "odd"),
    ("rm", "--yes", "odd"),
)


@fuzz(60)
@given(randoms)
def test_run_folders(
    valid: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], chance: random.Random
) -> None:
    root, outside = tmp_path / "runs", tmp_path / "outside"
    shutil.rmtree(root, ignore_errors=True)
    outside.mkdir(exist_ok=True)
    (outside / "secret").write_text("secret")
    shutil.copy(valid / "whole" / "events.jsonl", outside)
    run = root / "odd"
    shutil.copytree(valid / "whole", run)
    if chance.random() < 0.1:
        shutil.rmtree(run)
        run.symlink_to(outside)
    else:
        for name in chance.sample(ENTRIES, chance.choice((1, 1, 2, 4))):
            odd_entry(chance, run / name, outside)
    before = fingerprint(outside)
    verb = chance.choice(VERBS)
    with bounded_memory():
        code, _, err = command_line.run(capsys, "runs", *verb, "--run-root", str(root))
    assert_refused_well(code, err if code else "")
    if verb[0] != "rm":
        with bounded_memory():
            read_everything(run)
        if not run.is_symlink():  # whoever names a link means what it leads to
            take(run)
    assert fingerprint(outside) == before


def take(run: Path) -> None:
    """What a trainer does with the command file, and with its log."""
    runs.take_command(run)

    def write() -> None:
        with runs.RunWriter(run) as log:
            log.append(Heartbeat(time=NOW, state="paused"))

    refusal(write, RunError)


@fuzz(150)
@given(randoms, st.text(max_size=30))
def test_names(
    valid: Path, capsys: pytest.CaptureFixture[str], chance: random.Random, text: str
) -> None:
    """A name makes a folder of just that name in the root, or one line; finding likewise."""
    parts = [text, "..", "/", ".", "run", "whole", "\n", "\x1b[2J", *WORDS]
    name = "".join(chance.choices(parts, k=chance.choice((1, 1, 2, 3))))
    root = valid / "names"
    around = sorted(path.name for path in valid.iterdir())

    def make() -> None:
        made = runs.create(root, name, chance.choice(parts), "lae")
        assert (made.parent, made.name) == (root, name)
        made.rmdir()

    refusal(make, RunError)
    given = runs.create(root, None, name, "lae")
    assert given.parent == root
    given.rmdir()
    assert sorted(path.name for path in valid.iterdir() if path != root) == [
        name for name in around if name != "names"
    ]
    if name[:1] != "-" and "\0" not in name:
        code, _, err = command_line.run(
            capsys, "runs", "show", "--run-root", str(valid), "--", name
        )
        assert_refused_well(code, err)


def test_a_giant_log_is_summarised_from_its_ends(valid: Path, tmp_path: Path) -> None:
    shutil.copytree(valid / "whole", tmp_path / "giant")
    for name in ("events.jsonl", "config.json", "command"):
        with (tmp_path / "giant" / name).open("ab") as file:
            file.truncate(1 << 38)
    with bounded_memory(1 << 28):
        summary = runs.summarise(tmp_path / "giant", quick=True)
        # The settings are gone, and the log's end, which told of the run's.
        assert (summary.model, summary.status) == ("lae", "silent")
        assert runs.take_command(tmp_path / "giant") is None
