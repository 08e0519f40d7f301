"""What the dashboard's charts and flags are made of, without a screen."""

from __future__ import annotations

import csv
import io
import json
import math
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.text import Text

from helpers.run_folders import NOW, PER_EPOCH, evaluated, progress, say, started, write_run
from lae_cli.dashboard.charts import exports
from lae_cli.dashboard.charts.series import Series, drawable, envelope, nearest, smooth
from lae_cli.dashboard.charts.ticks import WIDEST, Ticks
from lae_cli.dashboard.filters import ascii_like
from lae_cli.dashboard.following.columns import MOST, RECENT, Columns
from lae_cli.dashboard.following.frame import Follower, Frame
from lae_cli.dashboard.following.replay import SPEEDS, Replay
from lae_cli.dashboard.views import compare_view
from lae_cli.terminal.vocabulary import RUN_COLOURS, run_colour, run_colours
from lae_fast.runs.events import Heartbeat

ANY = st.floats(allow_nan=True, allow_infinity=True)
FINITE = st.floats(-1e90, 1e90)


def frame_of(run: Path) -> Frame:
    follower = Follower(run)
    while not follower.complete:
        follower.poll()
    return follower.frame()


def words(run: Path) -> set[str]:
    return {finding.name for finding in frame_of(run).findings()}


# Comparison


@given(
    st.lists(st.tuples(st.integers(1, 60), st.integers(1, 40)), min_size=2, max_size=20),
    st.integers(1, 250),
)
def test_runs_beside_each_other_fit(runs: list[tuple[int, int]], room: int) -> None:
    rows = [["status", *("x" * cell for cell, _ in runs)]]
    heads = [head for _, head in runs]
    count = compare_view.across(rows, heads, room)
    widths = [max(pair) + compare_view.CELL_PADDING for pair in runs]
    table = Mock()
    compare_view._fill(table, rows, [Text("h" * head) for head in heads], count)
    drawn = table.add_column.call_count - 1
    wide = sum(max(widths[place::drawn]) for place in range(drawn))
    name = len("status") + compare_view.CELL_PADDING
    assert drawn == count
    assert count == 1 or wide + name <= room
    if sum(widths) + name <= room:
        assert count == len(runs)


def test_groups_that_are_made_even_are_measured_again() -> None:
    # In fours these fit, in threes the wide ones stand in different columns.
    rows = [["", *("x" * width for width in (20, 2, 2, 2, 20, 2))]]
    assert compare_view.across(rows, [1] * 6, 38) == 2


# Series


@given(st.lists(st.tuples(ANY, ANY), max_size=60), st.booleans(), st.booleans())
def test_what_is_drawn_is_finite_and_sorted(
    points: list[tuple[float, float]], log_x: bool, log_y: bool
) -> None:
    x, y = np.array(points).reshape(-1, 2).T
    shown = drawable(Series("", x, y, "red"), log_x=log_x, log_y=log_y)
    assert np.isfinite(shown.x).all()
    assert np.isfinite(shown.y).all()
    assert (np.diff(shown.x) >= 0).all()


@given(st.lists(FINITE, min_size=1, max_size=3000), st.integers(1, 50))
def test_envelope_keeps_the_extremes(values: list[float], buckets: int) -> None:
    y = np.array(values)
    x = np.arange(len(y), dtype=float)
    thin_x, thin_y = envelope(x, y, 0.0, float(len(y)), buckets)
    assert len(thin_x) <= max(2 * buckets + 2, len(y) if len(y) <= 2 * buckets else 0)
    assert thin_y.min() == y.min()
    assert thin_y.max() == y.max()
    assert (np.diff(thin_x) > 0).all()


def test_envelope_of_a_spike_among_a_hundred_thousand() -> None:
    y = np.zeros(100_000)
    y[54_321] = 9.0
    x, thin = envelope(np.arange(1e5), y, 0, 1e5, 100)
    assert x[thin.argmax()] == 54_321


@dataclass
class Point:
    iteration: float
    loss: float
    norm: float = 1.0


class TestColumns:
    """A long run's past is thinned; what is told of the present is not."""

    @staticmethod
    def columns(points: int) -> Columns:
        found = Columns(("iteration", "loss", "norm"), ("loss", "norm"))
        for first in range(0, points, 4000):
            found.append([Point(k, math.sin(k / 1000)) for k in range(first, first + 4000)])
        return found

    def test_rows_and_memory_are_bounded(self) -> None:
        found, size = Columns(("iteration", "loss"), ("loss",)), 0
        for first in range(0, 100_000, 1000):
            found.append([Point(k, k % 7) for k in range(first, first + 1000)])
            size = size or found._values.nbytes
            assert found._values.nbytes == size
            assert len(found) < MOST
            assert found.events == first + 1000
            x = found.column("iteration")
            assert (np.diff(x) > 0).all()
            assert x[0] == 0
            assert x[-RECENT:].tolist() == list(range(first + 1000))[-RECENT:]

    def test_the_newest_rows_are_not_thinned(self) -> None:
        found = Columns(("iteration", "loss"), ("loss",))
        found.append([Point(k, 0.0) for k in range(MOST)])
        x = found.column("iteration")
        assert len(x) < MOST
        assert x[-RECENT:].tolist() == list(range(MOST - RECENT, MOST))

    def test_the_past_is_evenly_spaced(self) -> None:
        x = self.columns(200_000).column("iteration")
        assert np.diff(x).max() < 200_000 / 200

    def test_peaks_and_gaps_outlive_it(self) -> None:
        found = self.columns(4000)
        found.append([Point(4000, 9.0), Point(4001, -9.0), Point(4002, math.nan, 50.0)])
        found.append([Point(4003 + k, math.nan) for k in range(5000)])
        found.append([Point(9003 + k, 0.0) for k in range(100_000)])
        at = dict(zip(found.column("iteration"), found.column("loss"), strict=True))
        assert (at[4000.0], at[4001.0]) == (9.0, -9.0)
        assert 4002.0 in at

    def test_a_copy_stays_as_it_is(self) -> None:
        found = self.columns(8000)
        before = found.copy()
        copy = before.column("loss").copy()
        found.append([Point(8000 + k, 5.0) for k in range(20_000)])
        found.cut("iteration", 100)
        assert np.array_equal(before.column("loss"), copy)
        assert found.column("iteration")[-1] <= 100


@given(st.lists(FINITE, min_size=1, max_size=400), st.sampled_from([5, 20, 100, 500]))
def test_smoothing_stays_within_the_values(values: list[float], window: int) -> None:
    x, y = np.arange(len(values), dtype=float), np.array(values)
    soft_x, soft = smooth(x, y, window)
    room = 1e-9 * max(1.0, np.abs(y).max())
    assert len(soft_x) == len(soft) <= len(values)
    assert soft.min() >= y.min() - room
    assert soft.max() <= y.max() + room


def test_one_huge_value_does_not_spoil_the_smoothed_rest() -> None:
    y = np.ones(1000)
    y[10] = 1e90
    _, soft = smooth(np.arange(1000.0), y, 20)
    assert soft[100:] == pytest.approx(1.0)


def test_nearest_point() -> None:
    x, y = np.array([0.0, 1.0, 10.0]), np.array([5.0, 6.0, 7.0])
    assert [nearest(x, y, at) for at in (-9, 0.4, 0.6, 6, 99)] == [5, 5, 6, 7, 7]
    assert nearest(x[:0], y[:0], 1) is None


# Ticks


@given(ANY, ANY, st.integers(1, 20), st.booleans())
def test_ticks_lie_inside_and_their_labels_are_short(
    low: float, high: float, count: int, log: bool
) -> None:
    ticks = Ticks(count, log)
    places = ticks.get_ticks(low, high)
    labels = ticks.get_labels_for_ticks(places)
    room = 1e-6 * max(abs(low), abs(high), 1e-300) if places else 0.0
    assert all(low - room <= place <= high + room for place in places)
    assert len(labels) == len(places) <= 50
    assert all(len(label) <= WIDEST + 1 for label in labels)


@pytest.mark.parametrize("low", [0.0, 1e-12, 1.0, 1e6])
@pytest.mark.parametrize("width", [0.05, 0.7, 5.0])
def test_labels_of_a_log_axis_are_round(low: float, width: float) -> None:
    begin = math.log10(low) if low else -3.2
    ticks = Ticks(6, log=True)
    labels = ticks.get_labels_for_ticks(ticks.get_ticks(begin, begin + width))
    assert len(labels) == len(set(labels))
    if width == 0.7:
        assert len(labels) >= 2
        assert all(float(label) == float(f"{float(label):.2g}") for label in labels)


# Flags


def test_a_healthy_run_has_no_flags(tmp_path: Path) -> None:
    assert words(write_run(tmp_path, "good")) == set()


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"accept_rate": 0.0, "accept_prob": 0.0}, "stuck chain"),
        ({"train_loss": float("nan")}, "NaN"),
        ({"grad_norm": float("inf")}, "NaN"),
    ],
)
def test_flags_of_bad_figures(tmp_path: Path, values: dict[str, float], word: str) -> None:
    run = write_run(tmp_path, "bad", status=None, began=time.time() - 125)
    more = [progress(i, time.time() - i, **values) for i in range(121, 145)]
    say(run, *more)
    assert word in words(run)


def test_divergence_is_noticed_and_an_early_hump_is_not(tmp_path: Path) -> None:
    began = time.time() - 400
    run = write_run(tmp_path, "up", status=None, began=began)
    assert "diverging" not in words(run)
    say(run, *(progress(i, began, train_loss=95 + 5.0 * (i - 120)) for i in range(121, 221)))
    assert "diverging" in words(run)


def test_silence_is_noticed_and_a_pause_is_not_silent(tmp_path: Path) -> None:
    run = write_run(tmp_path, "quiet", status=None, began=time.time() - 180)
    assert "silent" in words(run)
    texts = [finding.text for finding in frame_of(run).findings()]
    assert any("no heartbeat for" in text for text in texts)
    say(run, Heartbeat(time=time.time(), state="paused"))
    assert words(run) == set()
    assert frame_of(run).status == "paused"


def test_a_dead_trainer_is_called_crashed(tmp_path: Path) -> None:
    import socket

    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    run = write_run(
        tmp_path,
        "dead",
        status=None,
        began=time.time() - 121,
        host=socket.gethostname(),
        pid=dead.pid,
    )
    assert "crashed" in words(run)


def test_chains_that_do_not_mix(tmp_path: Path) -> None:
    run = write_run(tmp_path, "slow", status=None, began=time.time() - 121)
    say(run, evaluated(7, time.time() - 140, split_rhat=1.7))
    assert "slow mixing" in words(run)


# Reading


def test_a_long_log_shows_its_newest_figures_first(tmp_path: Path) -> None:
    run = tmp_path / "long"
    run.mkdir()
    say(run, started(most=1000), *(progress(i) for i in range(1, 12_000)))
    follower = Follower(run)
    follower.poll()
    frame = follower.frame()
    assert frame.progress is not None
    assert frame.progress.iteration == 11_999
    assert frame.share_read < 1
    assert frame_of(run).history.events == 11_999


def test_a_log_that_begins_anew_is_read_anew(tmp_path: Path) -> None:
    run = write_run(tmp_path, "again")
    follower = Follower(run)
    while not follower.complete:
        follower.poll()
    (run / "events.jsonl").unlink()
    say(run, started(NOW + 9), progress(1, NOW + 10))
    for _ in range(3):
        follower.poll()
    assert len(follower.frame().history) == 1


# Replay


def test_replay_shows_only_what_had_happened(tmp_path: Path) -> None:
    frame = frame_of(write_run(tmp_path, "done", began=NOW))
    replay = Replay.of(frame)
    assert replay is not None
    replay.at = NOW + 2.5 * PER_EPOCH
    then = replay.frame(frame)
    assert then.history.column("time").max() <= replay.at
    assert then.evaluated is not None
    assert then.evaluated.epoch == 2
    assert then.finished is None
    assert not then.controllable
    replay.advance(1e9)
    assert replay.at == replay.end
    assert not replay.playing
    assert replay.frame(frame).finished is not None


@given(st.lists(st.sampled_from([1, -1]), max_size=40))
def test_speeds_stay_in_their_list(steps: list[int]) -> None:
    replay = Replay(0.0, 100.0, 0.0, SPEEDS[3])
    for step in steps:
        replay.faster(step)
    assert replay.speed in SPEEDS


# Export, characters, colours


NAMES = st.text(st.characters(codec="utf-8", exclude_categories=("Cc",)), max_size=9)


@given(st.lists(st.tuples(NAMES, ANY), max_size=9))
def test_tables_as_csv_and_json(rows: list[tuple[str, float]]) -> None:
    table = exports.Rows("t", ("name", "value"), rows)
    read = list(csv.reader(io.StringIO(exports.as_csv(table), newline="")))
    assert [row[0] for row in read[1:]] == [name for name, _ in rows]
    objects = json.loads(exports.as_json(table))
    for (_, value), found in zip(rows, objects, strict=True):
        assert found["value"] == (value if math.isfinite(value) else None)


@given(st.text(max_size=300))
def test_file_names_are_harmless(stem: str) -> None:
    name = exports.file_name(stem, "csv")
    assert "/" not in name
    assert not name.startswith((".", "-"))
    assert len(name) <= 110


@given(st.characters(codec="utf-8"))
def test_ascii_has_the_same_width(character: str) -> None:
    from rich.cells import cell_len

    like = ascii_like(character)
    assert like.isascii()
    if character.isascii():
        assert like == character
    else:
        assert len(like) == cell_len(character)


def test_a_run_keeps_its_colour() -> None:
    assert run_colour("mnist-t50") == "#f0e442"  # in another process, too
    assert {run_colour(f"run-{i}") for i in range(100)} == set(RUN_COLOURS)
    beside = run_colours(["mnist-t50", "mnist-t50", *(f"run-{i}" for i in range(5))])
    assert beside[0] == run_colour("mnist-t50")
    assert set(beside) == set(RUN_COLOURS)


# Imports

_IMPORT = """
import sys
import lae_cli.dashboard.launch, lae_cli.dashboard.web, lae_cli.commands.dashboard
from lae_cli.dashboard import app
heavy = ("torch", "torchvision", "sklearn", "lae_fast.train", "lae_fast.models", "lae_fast.data")
print(*[name for name in heavy if name in sys.modules])
"""


def test_the_dashboard_needs_neither_torch_nor_the_trainer() -> None:
    from helpers.command_line import python

    done = python("-c", _IMPORT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == ""
