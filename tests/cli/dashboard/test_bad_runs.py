"""Run folders that are broken, foreign or hostile: shown as what they are, never obeyed."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from helpers.dashboards import screen_text, settle, watching
from helpers.run_folders import NOW, evaluated, progress, say, started, write_run
from lae_fast import runs
from lae_fast.runs.events import Message

pytestmark = pytest.mark.usefixtures("quick_watcher")

HOSTILE = "\x1b[31mred\x1b]0;title\x07[bold]b[/bold][@click=app.quit]x[/]‮"


def empty(root: Path) -> Path:
    (root / "empty").mkdir()
    return root / "empty"


def torn(root: Path) -> Path:
    run = write_run(root, "torn")
    log = run / "events.jsonl"
    log.write_bytes(log.read_bytes()[:-40])
    return run


def garbage(root: Path) -> Path:
    run = write_run(root, "garbage")
    with open(run / "events.jsonl", "ab") as log:
        log.write(b"\x00\xff\xfe not json\n{}\n[1,2]\nnull\n" + b"[" * 5000 + b"\n")
    (run / "config.json").write_bytes(b"\xff\xfe[[[")
    return run


def newer(root: Path) -> Path:
    run = root / "newer"
    run.mkdir()
    (run / "config.json").write_text('{"dataset": "digits", "latent_dim": 2}')
    line = {"schema": 99, "type": "run_started", "colour": "mauve"}
    (run / "events.jsonl").write_text(json.dumps(line) + "\n")
    return run


def not_files(root: Path) -> Path:
    run = root / "not-files"
    (run / "events.jsonl").mkdir(parents=True)
    os.mkfifo(run / "config.json")
    return run


def fifo(root: Path) -> Path:
    run = write_run(root, "fifo")
    (run / "events.jsonl").unlink()
    os.mkfifo(run / "events.jsonl")
    return run


def wild_numbers(root: Path) -> Path:
    run = write_run(root, "wild", status=None)
    big = replace(
        progress(500),
        iteration=10**400,
        epoch=-5,
        train_loss=float("-inf"),
        accept_rate=9.9,
        step_size=-1.0,
        seconds_left=float("nan"),
        elapsed=-1e300,
        memory_bytes=-(2**70),
    )
    first = started(most=10**30, iterations_per_epoch=0)
    say(run, first, big, replace(big, time=-1e300))
    return run


def bad_snapshots(root: Path) -> Path:
    run = write_run(root, "snapshots", epochs=2)
    (root / "outside.npz").write_bytes(b"secret")
    for place, name in enumerate(("../outside.npz", "/etc/passwd", "\x00", "a" * 5000, ".")):
        say(run, evaluated(3 + place, snapshot=name))
    odd = run / "snapshots" / "odd.npz"
    np.savez(
        odd,
        latents=np.full((5, 3), np.nan),
        labels=np.arange(5) - 9,
        originals=np.zeros((2, 4, 3, 3), np.float32),
        reconstructions=np.zeros(0),
    )
    say(run, evaluated(9, snapshot="snapshots/odd.npz"))
    return run


def hostile_words(root: Path) -> Path:
    run = write_run(root, "words", dataset=HOSTILE, status="finished")
    say(run, started(run=HOSTILE, model=HOSTILE, device=HOSTILE, engine=HOSTILE))
    say(run, Message(time=NOW, level=HOSTILE, text=HOSTILE))
    name = root / HOSTILE.replace("/", "_")
    shutil.copytree(run, name)
    return name


def link_to_itself(root: Path) -> Path:
    run = root / "loop"
    run.mkdir()
    (run / "events.jsonl").symlink_to(run / "events.jsonl")
    return run


BAD = (
    empty,
    torn,
    garbage,
    newer,
    not_files,
    fifo,
    wild_numbers,
    bad_snapshots,
    hostile_words,
    link_to_itself,
)


def clean(text: str) -> None:
    """Nothing on the screen came through as an escape, and no markup was taken for one."""
    assert all(c == "\n" or c.isprintable() for c in text)
    assert "secret" not in text


@pytest.mark.slow
@pytest.mark.parametrize("make", BAD)
async def test_no_view_stumbles(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    run = make(tmp_path)
    good = write_run(tmp_path, "good", epochs=1)
    async with watching(tmp_path, run, good, size=(80, 24)) as (app, pilot):
        for key in "123456":
            await settle(pilot, app, key)
            await pilot.press("left_square_bracket", "y", "plus", "a")
            clean(screen_text(app))
        await pilot.press("R", "e", "escape")
        assert app.frame is not None


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (empty, "this folder is not a run"),
        (newer, "newer version of lae"),
        (not_files, "not a run"),
        (garbage, "garbage  finished"),
    ],
)
async def test_what_is_wrong_is_said(
    tmp_path: Path, make: Callable[[Path], Path], words: str
) -> None:
    write_run(tmp_path, "good", epochs=1)
    async with watching(tmp_path, make(tmp_path)) as (app, pilot):
        seen = screen_text(app)
        await settle(pilot, app, "5")
        assert words in seen + screen_text(app)


async def test_hostile_names_are_shown_literally(tmp_path: Path) -> None:
    run = hostile_words(tmp_path)
    async with watching(tmp_path, run) as (app, pilot):
        assert "[bold]b[" in screen_text(app)
        await settle(pilot, app, "5")
        assert "[bold]b[" in screen_text(app)
        await pilot.press("p")
        await pilot.pause()
        clean(screen_text(app))


async def test_somebody_elses_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = write_run(tmp_path, "theirs")
    opened, access = os.open, os.access

    def refuse(path: object, *args: object, **kwargs: object) -> int:
        if str(path).startswith(str(run)):
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr("lae_fast.runs.files.os.open", refuse)
    monkeypatch.setattr(
        "os.access", lambda path, mode: not str(path).startswith(str(run)) and access(path, mode)
    )
    async with watching(tmp_path, run, size=(160, 30)) as (app, _):
        assert "belongs to somebody else" in screen_text(app)


async def test_a_run_deleted_while_it_is_watched(tmp_path: Path) -> None:
    run = write_run(tmp_path, "gone", status=None, began=time.time() - 60)
    async with watching(tmp_path, size=(160, 30)) as (app, pilot):
        assert "running" in screen_text(app)
        shutil.rmtree(run)
        for key in "123456":
            await settle(pilot, app, key)
            await settle(pilot, app)
        assert "the run folder is gone" in screen_text(app)
        await pilot.press("p")
        await pilot.pause()
        assert not run.exists()


async def test_a_folder_without_runs_and_one_that_vanishes(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    async with watching(root) as (app, pilot):
        assert "no runs here yet" in screen_text(app)
        write_run(root, "first", epochs=1)
        for _ in range(50):
            await pilot.pause(0.05)
            if app.opened is not None:
                break
        assert app.opened == root / "first"
        shutil.rmtree(root)
        await settle(pilot, app)
        assert "the run folder is gone" in screen_text(app)


async def test_a_command_to_a_folder_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_run(tmp_path, "live", status=None, began=time.time() - 60)

    def refuse(*_: object, **__: object) -> None:
        raise runs.RunError("cannot write: Read-only file system")

    monkeypatch.setattr(runs, "send_command", refuse)
    async with watching(tmp_path) as (app, pilot):
        await pilot.press("p")
        await pilot.pause()
        assert "cannot write: Read-only file system" in app.said
        assert app.pending is None
