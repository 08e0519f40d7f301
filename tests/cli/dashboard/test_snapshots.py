"""Every view as a picture, at the smallest size that is promised and at a large one.

After a change that is meant: ``pytest --snapshot-update tests/cli/dashboard/test_snapshots.py``,
then look at the pictures.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from helpers.dashboards import dashboard, settle
from helpers.run_folders import NOW, write_run
from lae_cli.dashboard.base import TABS

SIZES = {"80x24": (80, 24), "160x50": (160, 50)}
BOTH = ["80x24", pytest.param("160x50", marks=pytest.mark.slow)]
Compare = Callable[..., bool]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three runs in a world where the time stands still."""
    monkeypatch.setattr(time, "time", lambda: NOW)
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    monkeypatch.setattr("lae_cli.dashboard.following.watcher.POLL", 0.1)
    monkeypatch.delenv("NO_COLOR", raising=False)
    write_run(tmp_path, "mnist-t2", began=NOW - 90_000, seed=1, steps=2, dataset="mnist")
    write_run(tmp_path, "mnist-vae", began=NOW - 9000, model="vae", status="stopped", epochs=3)
    write_run(
        tmp_path, "mnist-t50", began=NOW - 121, status=None, steps=50, dataset="mnist", latent_dim=3
    )
    return tmp_path


def shown(
    compare: Compare, root: Path, view: str, size: str, *names: str, keys: str = "", **options: Any
) -> bool:
    app = dashboard(root, *names, **options)

    async def before(pilot: Pilot[None]) -> None:
        await settle(pilot, app)
        await settle(pilot, app, str(TABS.index(view) + 1), *keys.split())
        app.clear_notifications()
        await pilot.wait_for_scheduled_animations()
        await pilot.pause()

    return compare(app, terminal_size=SIZES[size], run_before=before)


@pytest.mark.parametrize("size", BOTH)
@pytest.mark.parametrize("view", TABS)
def test_view(snap_compare: Compare, root: Path, view: str, size: str) -> None:
    others = ("mnist-t2", "mnist-vae") if view in ("charts", "runs", "compare") else ()
    assert shown(snap_compare, root, view, size, "mnist-t50", *others)


@pytest.mark.parametrize("keys", ["2 full_stop full_stop", "6"])
def test_six_runs(snap_compare: Compare, root: Path, keys: str) -> None:
    models = ("lae", "vae", "iwae", "hoffman", "frozen", "lae")
    names = [f"mnist-{model}-20261125-13521{k}" for k, model in enumerate(models)]
    for k, (name, model) in enumerate(zip(names, models, strict=True)):
        write_run(root, name, model=model, epochs=3 + k, seed=k, began=NOW - 9000 - k)
    assert shown(snap_compare, root, "live", "80x24", *names, keys=keys)


def test_ascii(snap_compare: Compare, root: Path) -> None:
    assert shown(snap_compare, root, "latents", "80x24", "mnist-t2", ascii_only=True)


def test_sixteen_colours(snap_compare: Compare, root: Path) -> None:
    assert shown(snap_compare, root, "live", "80x24", "mnist-t50", theme="ansi-dark")


def test_no_colour(snap_compare: Compare, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert shown(snap_compare, root, "latents", "80x24", "mnist-t2")


def test_no_chain(snap_compare: Compare, root: Path) -> None:
    assert shown(snap_compare, root, "live", "80x24", "mnist-vae")


def test_help(snap_compare: Compare, root: Path) -> None:
    assert shown(snap_compare, root, "live", "160x50", "mnist-t2", keys="question_mark")


def test_confirmation(snap_compare: Compare, root: Path) -> None:
    assert shown(snap_compare, root, "live", "80x24", "mnist-t50", keys="x")
