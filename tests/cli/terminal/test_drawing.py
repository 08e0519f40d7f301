"""Charts, number formats and the scatter of latents."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.text import Text

from helpers.run_folders import evaluated
from lae_cli.terminal import images, scatter, vocabulary
from lae_cli.terminal.console import has_unicode
from lae_cli.terminal.flow import flow
from lae_cli.terminal.glyphs import Glyphs
from lae_cli.terminal.snapshot import load_snapshot
from lae_cli.terminal.sparkline import bar, sparkline
from lae_cli.terminal.values import values
from lae_fast.runs.plane import Projector
from lae_fast.runs.state import RunState

ANY_FLOAT = st.floats(allow_nan=True, allow_infinity=True)


def test_sparkline_rises_with_the_series() -> None:
    assert sparkline([1, 2, 3, 4, 5, 6, 7, 8], 8) == "▁▂▃▄▅▆▇█"
    assert sparkline([0, 0, 8, 8], 2) == "▁█"
    assert sparkline([0.5], 5, low=0, high=1, unicode=False) == "="
    assert sparkline([float("nan"), 1.0], 5)[0] == "!"


@given(st.lists(ANY_FLOAT, max_size=50), st.integers(-1, 30), st.booleans())
def test_sparkline_fits(values: list[float], width: int, unicode: bool) -> None:
    line = sparkline(values, width, unicode=unicode)
    assert len(line) == max(0, min(width, len(values)))
    assert unicode or line.isascii()


@given(ANY_FLOAT.filter(np.isfinite), st.integers(0, 50))
def test_bar_fills_its_width(share: float, width: int) -> None:
    done, rest = bar(max(-1e6, min(1e6, share)), width)
    assert len(done + rest) == width


@pytest.mark.parametrize(
    ("rate", "word"),
    [(0.0, "low"), (0.42, "low"), (0.43, "in band"), (0.72, "in band"), (0.9, "high")],
)
def test_acceptance_band(rate: float, word: str) -> None:
    assert vocabulary.judge_acceptance(rate, 0.574).word == word


def test_a_high_rate_is_no_fault_of_a_step_size_that_adapts() -> None:
    fixed = vocabulary.judge_acceptance(0.97, 0.574)
    adapts = vocabulary.judge_acceptance(0.97, 0.574, adapts=True)
    assert (fixed.word, fixed.colour) == ("high", vocabulary.WARN)
    assert (adapts.word, adapts.colour) == ("high", "")
    assert vocabulary.judge_acceptance(0.3, 0.574, adapts=True).colour == vocabulary.WARN


@given(ANY_FLOAT)
def test_formats_are_short(value: float) -> None:
    forms = (
        vocabulary.loss,
        vocabulary.scientific,
        vocabulary.number,
        vocabulary.per_second,
        vocabulary.duration,
    )
    for form in forms:
        assert 0 < len(form(value)) <= 16


def test_formats() -> None:
    assert [vocabulary.duration(s) for s in (7, 754, 3723, 90061)] == [
        "0:07",
        "12:34",
        "1:02:03",
        "1d 01:01:01",
    ]
    assert vocabulary.duration(59.7) == "1:00"
    assert [vocabulary.per_second(v) for v in (3.14159, 950, 12345, 4.56e6)] == [
        "3.1",
        "950",
        "12.3k",
        "4.56M",
    ]
    assert vocabulary.size(3 * 2**29) == "1.5 GiB"
    assert vocabulary.age(7300) == "2 h"


class TestScatter:
    def test_braille_dot_for_dot(self) -> None:
        # One point in each corner of one cell: dots 1, 4, 7, 8.
        points = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
        rows = scatter.draw(points, np.zeros(4, int), 1, 1, braille=True, colour=True)
        assert rows[0][0].marker  # the class's letter stands on its middle
        rows = scatter.draw(points, np.arange(4), 3, 3, braille=True, colour=True)
        text = ["".join(cell.text for cell in row) for row in rows]
        assert text == ["2 3", "   ", "0 1"]

    def test_letters_without_colour(self) -> None:
        points = np.array([[0.0, 0.0]] * 3 + [[1.0, 1.0]])
        rows = scatter.draw(points, np.array([5, 5, 7, 10]), 5, 3, braille=True, colour=False)
        assert rows[2][0].text == "5"
        assert rows[0][4].text == "A"

    @given(
        st.integers(0, 40),
        st.integers(1, 12),
        st.integers(0, 20),
        st.integers(0, 9),
        st.booleans(),
        st.booleans(),
        st.sampled_from([0.0, 1.0, 1e30]),
    )
    def test_any_points_fill_the_grid(
        self,
        count: int,
        dim: int,
        width: int,
        height: int,
        braille: bool,
        colour: bool,
        size: float,
    ) -> None:
        rng = np.random.default_rng(count)
        latents = size * rng.normal(size=(count, dim))
        points = Projector()(latents)
        assert points.shape == (count, 2)
        rows = scatter.draw(
            points, rng.integers(-3, 99, count), width, height, braille=braille, colour=colour
        )
        assert [len(row) for row in rows] == [width] * height
        if not braille:
            assert all(cell.text.isascii() for row in rows for cell in row)

    def test_projection_keeps_its_orientation(self) -> None:
        """Principal axes of slightly moved points are rotated back onto the former ones."""
        rng = np.random.default_rng(0)
        latents = rng.normal(size=(500, 6)) * np.array([3.0, 2.9, 1.0, 0.5, 0.5, 0.5])
        for _ in range(20):
            project = Projector()
            first = project(latents)
            turn = np.linalg.qr(rng.normal(size=(6, 6)))[0]  # the picture ignores the frame
            second = project((latents + 0.01 * rng.normal(size=latents.shape)) @ turn)
            assert np.abs(first - second).max() < 0.5

    def test_snapshot_round_trip(self, tmp_path: Path) -> None:
        latents = np.arange(12, dtype=np.float32).reshape(6, 2)
        latents[3, 1] = np.nan
        np.savez(tmp_path / "s.npz", latents=latents, labels=np.arange(6))
        snapshot = load_snapshot(tmp_path / "s.npz")
        assert snapshot is not None
        assert snapshot.labels.tolist() == [0, 1, 2, 4, 5]

    def test_broken_snapshots_are_nothing(self, tmp_path: Path) -> None:
        path = tmp_path / "s.npz"
        assert load_snapshot(path) is None
        contents: list[dict[str, object]] = [
            {"latents": np.zeros(3), "labels": np.zeros(3)},
            {"latents": np.zeros((3, 2)), "labels": np.zeros(4)},
            {"latents": np.zeros((3, 0)), "labels": np.zeros(3)},
            {"latents": np.zeros((3, 2))},
            {"latents": np.array([[{}]], dtype=object), "labels": np.zeros(1)},
            {"latents": np.array([["a", "b"]]), "labels": np.zeros(1)},
        ]
        for arrays in contents:
            np.savez(path, **arrays)  # type: ignore[arg-type]
            assert load_snapshot(path) is None
        np.savez_compressed(path, latents=np.ones((500, 2)), labels=np.zeros(500))
        whole = path.read_bytes()
        for cut in (0, 10, len(whole) // 2):
            path.write_bytes(whole[:cut])
            assert load_snapshot(path) is None
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("latents.npy", b"not an array")
        assert load_snapshot(path) is None


def test_unicode_is_asked_of_stream_and_locale() -> None:
    utf8 = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    latin = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    assert has_unicode(utf8, {})
    assert not has_unicode(latin, {})
    assert not has_unicode(utf8, {"LC_ALL": "C"})
    assert not has_unicode(utf8, {"TERM": "linux"})


@given(
    st.integers(0, 4),
    st.sampled_from([1, 3]),
    st.integers(1, 40),
    st.integers(1, 40),
    st.integers(0, 60),
    st.integers(-3, 20),
)
def test_strips_fit(count: int, channels: int, h: int, w: int, width: int, rows: int) -> None:
    rng = np.random.default_rng(0)
    batch = rng.integers(0, 256, (count, channels, h, w)).astype(np.uint8)
    pair = images.strips(batch, batch, width, rows)
    assert len(pair) in (0, 2)
    for picture in pair:
        assert picture.shape[0] % 2 == 0
        assert picture.shape[0] // 2 * 2 <= rows
        assert picture.shape[1] <= width


def test_strips_show_the_images() -> None:
    batch = np.zeros((2, 1, 16, 16), np.uint8)
    batch[1, :, :8] = 200
    picture = images.strips(batch, batch, 40, 8)[0]
    assert picture.shape == (8, 17, 3)
    assert (picture[:4, 9:] == 200).all()
    assert picture[:, :8].max() == picture[4:, 9:].max() == 0


def test_a_run_without_events_has_units_and_no_values() -> None:
    shown = {value.label: value for value in values(RunState(), Glyphs())}
    assert shown[vocabulary.BEST][1:3] == ("-", vocabulary.LOSS_UNIT)
    assert shown[vocabulary.ACCEPTANCE].text == "-"
    without = [value.label for value in values(RunState({"model": "vae", "mh": False}), Glyphs())]
    assert not {vocabulary.STEP_SIZE, vocabulary.TARGET, vocabulary.WOULD_BE} & set(without)


def test_a_check_of_the_chain_is_shown_with_its_age() -> None:
    state = RunState()
    for epoch, ess in ((1, 0.25), (2, None), (3, None)):
        state.apply(evaluated(epoch, ess_per_step=ess, split_rhat=None))
    shown = {value.label: value for value in values(state, Glyphs())}
    assert shown[vocabulary.ESS][1:3] == ("0.25", "2 epochs ago")
    state.step_size_set = True
    shown = {value.label: value for value in values(state, Glyphs())}
    assert shown[vocabulary.STEP_SIZE].note == "fixed"


@given(st.lists(st.text("ab ", min_size=1, max_size=12), max_size=8), st.integers(1, 40))
def test_names_are_broken_between_each_other_only(names: list[str], width: int) -> None:
    lines = flow(Text("heading"), [Text(name) for name in names], width).plain.splitlines()
    assert lines[0].startswith("heading")
    assert all(any(name in line for line in lines) for name in names)
    widest = max(map(len, ["heading", *names]))
    assert all(len(line) <= max(width, widest) for line in lines)


def test_images_have_gaps_between_them() -> None:
    """Apart from black and white, to the right and below, and only where there are images."""
    tiles = np.zeros((3, 1, 8, 8), np.uint8)
    wide, short = (images.strip(tiles[:count], 40, 8) for count in (3, 1))
    assert (wide[:, 8] == images.GAP).all()
    assert (wide[:, :8] == 0).all()
    picture, covered = images.stack([wide, short])
    assert picture.shape == (18, 26, 3)
    assert (picture[8] == images.GAP).all()
    assert covered == [26] * 5 + [8] * 4


def test_bad_input_leaves_no_empty_picture_on_the_screen() -> None:
    from rich.console import Console

    from lae_cli.progress.live import SteadyLive
    from lae_fast.errors import DataError

    for error, erased in ((DataError("no such data"), True), (KeyboardInterrupt(), False)):
        console = Console(file=io.StringIO(), force_terminal=True, width=20, height=5)
        with pytest.raises(type(error)), SteadyLive("frame", console=console):
            raise error
        shown = console.file.getvalue()  # type: ignore[attr-defined]
        assert ("\x1b[2K" in shown.split("frame")[-1]) is erased
