"""The dashboard driven by its keys, on run folders without a trainer."""

from __future__ import annotations

import asyncio
import csv
import itertools
import json
import math
import re
import time
from pathlib import Path

import pytest
from textual.events import MouseScrollUp
from textual.geometry import Offset
from textual.widgets import DataTable, Input, Static, Tabs

from helpers.dashboards import screen_text, settle, watching
from helpers.run_folders import NOW, answer, edit_config, progress, say, write_run
from lae_cli.dashboard.app import Dashboard
from lae_cli.dashboard.base import TABS
from lae_cli.dashboard.following.watcher import Watcher
from lae_cli.dashboard.views.charts_view import ChartsView
from lae_cli.dashboard.views.compare_view import CompareView
from lae_cli.dashboard.views.dialogs import Ask, Confirm, Help
from lae_cli.dashboard.views.latents_view import LatentsView
from lae_cli.dashboard.views.log_view import read_end
from lae_cli.dashboard.views.pictures_view import SIZES, PicturesView
from lae_cli.dashboard.views.runs_view import RunsView
from lae_fast import runs

pytestmark = pytest.mark.usefixtures("quick_watcher")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two finished runs and, the newest, one that is going on."""
    write_run(tmp_path, "old", began=NOW - 90_000, seed=1, steps=2, latent_dim=3)
    write_run(tmp_path, "vae", began=NOW - 50_000, model="vae", status="stopped", epochs=3)
    write_run(tmp_path, "live", began=time.time() - 60, status=None)
    return tmp_path


def sent(run: Path) -> dict[str, object] | None:
    """The command that waits in a run folder."""
    command = runs.take_command(run)
    return None if command is None else {"name": command.name, **command.args}


def text_of(app: Dashboard, selector: str) -> str:
    return str(app.query_one(selector, Static).render())


async def test_opens_the_newest_run(root: Path) -> None:
    async with watching(root) as (app, _):
        assert app.opened == root / "live"
        assert "running" in text_of(app, "#status")
        values = text_of(app, "#values")
        for words in (
            "95.98",
            "acceptance",
            "0.579",
            "ESS/step",
            "split R-hat",
            "10:00 left",
            "512 MiB",
        ):
            assert words in values
        assert "0.42–0.72" in values


async def test_opens_named_runs_and_overlays_the_others(root: Path) -> None:
    async with watching(root, "old", "vae") as (app, pilot):
        assert app.opened == root / "old"
        await settle(pilot, app, "2")
        titles = screen_text(app).splitlines()[2]
        assert "A old" in titles
        assert "B vae" in titles


async def test_views_have_keys(root: Path) -> None:
    async with watching(root) as (app, pilot):
        for place, name in enumerate(TABS):
            await pilot.press(str(place + 1))
            await pilot.pause()
            assert app.view_name == name
            assert app.query_one(Tabs).active == name


async def test_new_events_appear(root: Path) -> None:
    async with watching(root) as (app, pilot):
        assert app.frame is not None
        before = len(app.frame.history)
        say(root / "live", *(progress(i, time.time() - 300) for i in range(200, 205)))
        await settle(pilot, app)
        assert app.frame is not None
        assert len(app.frame.history) == before + 5


async def test_no_chain_is_said_and_not_judged(root: Path) -> None:
    async with watching(root, "vae") as (app, pilot):
        text = screen_text(app)
        assert "no chain" in text
        assert "nan" not in text.lower()
        assert "stuck" not in text
        await settle(pilot, app, "5")
        row = next(line for line in screen_text(app).splitlines() if "vae z=2" in line)
        assert "nan" not in row


# Control


async def test_pause_is_sent_and_acknowledged(root: Path) -> None:
    run = root / "live"
    async with watching(root) as (app, pilot):
        await pilot.press("p")
        await pilot.pause()
        assert sent(run) == {"name": "pause"}
        assert "pause asked" in text_of(app, "#status")
        answer(run, "pause", "paused")
        await settle(pilot, app)
        await settle(pilot, app)
        assert app.pending is None
        assert "live: paused" in app.said


async def test_an_answer_from_before_is_no_answer(root: Path) -> None:
    run = root / "live"
    answer(run, "checkpoint", "weights written")
    async with watching(root) as (app, pilot):
        await settle(pilot, app, "k")
        assert app.pending is not None


async def test_stop_asks_first(root: Path) -> None:
    run = root / "live"
    async with watching(root) as (app, pilot):
        for no in ("n", "escape", "enter"):  # the button at hand is no
            await pilot.press("x")
            await pilot.pause()
            assert isinstance(app.screen, Confirm)
            await pilot.press(no)
            await pilot.pause()
            assert sent(run) is None
        for key, after in (("x", "epoch"), ("X", "now")):
            await pilot.press(key, "y")
            await pilot.pause()
            assert sent(run) == {"name": "stop", "after": after}


async def test_step_size_is_checked_before_it_is_sent(root: Path) -> None:
    run = root / "live"
    async with watching(root) as (app, pilot):
        await pilot.press("z")
        await pilot.pause()
        for text in ("-1", "nan", "quick"):
            app.screen.query_one(Input).value = text
            await pilot.press("enter")
            assert isinstance(app.screen, Ask)
            assert sent(run) is None
        app.screen.query_one(Input).value = "2e-3"
        await pilot.press("enter")
        await pilot.pause()
        assert sent(run) == {"name": "step_size", "value": 0.002}


async def test_read_only_sends_and_writes_nothing(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    async with watching(root, "live", readonly=True) as (app, pilot):
        for key in "pkxXze":
            await pilot.press(key)
            await pilot.pause()
            assert len(app.screen_stack) == 1
        offered = {command.title for command in app.get_system_commands(app.screen)}
        for word in ("Pause", "Stop", "Export"):
            assert word not in screen_text(app)
            assert word not in offered
        assert sent(root / "live") is None
        assert "read-only" in text_of(app, "#status")
    assert not list((tmp_path / "here").iterdir())


async def test_a_finished_run_takes_no_commands(root: Path) -> None:
    async with watching(root, "old") as (app, pilot):
        await pilot.press("p")
        await pilot.pause()
        assert sent(root / "old") is None
        assert "old has already ended (finished), so it takes no commands" in app.said


# Charts


async def test_charts_change_their_axes(root: Path) -> None:
    async with watching(root, "old") as (app, pilot):
        await settle(pilot, app, "2")
        chart = app.query_one(ChartsView).panel.chart
        whole = chart.x_range
        await pilot.press("y", "l", "s")
        assert (chart.log_x, chart.log_y, chart.window) == (True, True, 5)
        assert chart.x_range[1] < 3  # log10 of 120 iterations
        assert "log y, log x, mean of 5" in screen_text(app)
        await pilot.press("y", "l", "S", "plus")
        assert chart.zoomed
        left, right = chart.x_range
        assert right - left < whole[1] - whole[0]
        await pilot.press("right")
        assert chart.x_range[0] > left
        await pilot.press("0")
        assert chart.x_range == pytest.approx(whole)
        await pilot.press("u")
        assert chart.x_range[1] == pytest.approx(6, abs=0.2)  # epochs


async def test_read_out_under_cursor_and_mouse(root: Path) -> None:
    async with watching(root, "old") as (app, pilot):
        await settle(pilot, app, "2")
        chart = app.query_one(ChartsView).panel.chart
        await pilot.press("full_stop")
        assert "iteration" in screen_text(app).splitlines()[2]
        by_key = chart.cursor
        await pilot.hover(chart, offset=(chart.size.width - 3, 5))
        await pilot.pause()
        assert chart.cursor is not None
        assert by_key is not None
        assert chart.cursor > by_key
        x, values = chart.read(120.0)
        assert x == 120
        assert [line.label for line, _ in values] == ["train loss", "val loss"]
        assert values[1][1] == pytest.approx(102.57, abs=0.01)


async def test_a_chart_out_of_sight_holds_no_points(root: Path) -> None:
    async with watching(root, "old") as (app, pilot):
        await settle(pilot, app, "2")
        chart = app.query_one(ChartsView).panel.chart
        await pilot.press("plus")
        zoomed = chart.x_range
        await settle(pilot, app, "1")
        assert chart.drawing is None
        await settle(pilot, app, "2")
        assert chart.drawing is not None
        assert chart.x_range == zoomed
        assert "train loss" in screen_text(app)


async def test_mouse_wheel_zooms_a_chart(root: Path) -> None:
    async with watching(root, "old") as (app, pilot):
        await settle(pilot, app, "2")
        chart = app.query_one(ChartsView).panel.chart
        before = chart.x_range
        x, y = chart.region.offset + Offset(20, 8)
        turned = MouseScrollUp(None, x, y, 0, 0, 0, False, False, False, screen_x=x, screen_y=y)
        app.screen.post_message(turned)
        await pilot.pause()
        assert before[0] < chart.x_range[0] < chart.x_range[1] < before[1]


async def test_non_finite_values_leave_charts_alone(root: Path) -> None:
    began, bad = NOW - 90_000, (float("nan"), float("inf"), -float("inf"), 1e300)
    events = [progress(121 + i, began, train_loss=value) for i, value in enumerate(bad)]
    say(root / "old", *events)
    async with watching(root, "old") as (app, pilot):
        await settle(pilot, app, "2")
        chart = app.query_one(ChartsView).panel.chart
        low, high = chart.y_range
        assert 50 < low < high < 600
        await pilot.press("y")
        assert chart.log_y
        low, high = chart.y_range
        assert math.log10(50) < low < high < math.log10(600)


async def test_every_quantity_can_be_drawn(root: Path) -> None:
    async with watching(root, "live", "vae", "old") as (app, pilot):
        await pilot.press("2")
        seen = set()
        for _ in range(14):
            await pilot.press("m", "y")
            await pilot.pause()
            seen.add(app.query_one(ChartsView).metric.name)
        assert len(seen) == 14


# Log


async def test_the_log_follows_the_trainer(root: Path) -> None:
    log = root / "live" / runs.LOG_FILE
    async with watching(root, "live", size=(80, 24)) as (app, pilot):
        await settle(pilot, app, "7")
        assert "there is no output.log" in screen_text(app)
        assert "54000 images" in screen_text(app)
        log.write_text("".join(f"line {k}\n" for k in range(100)) + "\x1b[31m[bold]red\n")
        await settle(pilot, app)
        assert "line 99" in screen_text(app)
        assert "[31m[bold]red" in screen_text(app)
        await settle(pilot, app, "home")
        assert "line 0 " in screen_text(app)
        with log.open("a") as file:
            file.write("more\n")
        await settle(pilot, app)
        assert "line 0 " in screen_text(app)  # who reads is left alone


def test_only_the_end_of_a_long_log_is_read(tmp_path: Path) -> None:
    file = tmp_path / "output.log"
    file.write_bytes(b"".join(b"%d\n" % k for k in range(100_000)) + b"\xff\n")
    lines = read_end(file)
    assert lines[-2:] == ["99999", "\ufffd"]
    assert 9_000 < len(lines) < 12_000
    assert int(lines[0]) == 100_001 - len(lines)
    assert read_end(tmp_path) == read_end(tmp_path / "none") == []


SIX = [f"digits-lae-20261125-13521{k}" for k in range(6)]


@pytest.fixture
def six(tmp_path: Path) -> Path:
    """Six runs with the names that runs get by themselves, each an epoch longer than the last."""
    for k, name in enumerate(SIX):
        write_run(tmp_path, name, epochs=2 + k, seed=k, steps=k + 1, began=NOW - 9000 + k)
    return tmp_path


def caption(app: Dashboard) -> list[str]:
    return str(app.query_one(ChartsView).panel.query_one(Static).render()).splitlines()


@pytest.mark.parametrize("width", [80, 112, 200])
async def test_every_run_is_named_and_read_out(six: Path, width: int) -> None:
    async with watching(six, *SIX, size=(width, 24)) as (app, pilot):
        await settle(pilot, app, "2")
        screen = screen_text(app)
        assert all(name in screen for name in SIX)
        await pilot.press("full_stop")
        await pilot.pause()
        heading, *items = caption(app)
        assert re.search(r"iteration 7[1-4] ", heading)  # the middle of 140, and whole
        read = "  ".join(items)
        # Runs of 40 and 60 iterations have no values there.
        assert f"A {SIX[0]} - / -" in read
        assert f"B {SIX[1]} - / -" in read
        for name in SIX[2:]:
            assert name in read
            assert f"{name} -" not in read
        await pilot.press("u")
        await pilot.pause()
        assert "iteration" not in screen_text(app)
        await pilot.press("full_stop")
        await pilot.pause()
        assert re.search(r"epoch 3\.[56]", caption(app)[0])


async def test_the_x_axis_is_named(root: Path) -> None:
    async with watching(root, "old") as (app, pilot):
        await settle(pilot, app, "2")
        for unit in ("iter.", "epoch", "hours"):
            assert unit in screen_text(app).splitlines()[-2]
            await pilot.press("u")
            await pilot.pause()


@pytest.mark.parametrize("width", [80, 120, 200])
async def test_six_runs_are_compared_without_cutting(six: Path, width: int) -> None:
    async with watching(six, *SIX, size=(width, 60)) as (app, pilot):
        await settle(pilot, app, "6")
        screen = screen_text(app)
        assert app.query_one("CompareView DataTable").max_scroll_x == 0
        for k, name in enumerate(SIX):
            assert f"{'ABCDEF'[k]} {name}" in screen
        assert all(f"1:{1 + 20 * (2 + k) - 60:02}" in screen for k in range(1, 3))
        steps = [line.split()[1:] for line in screen.splitlines() if line.split()[:1] == ["steps"]]
        assert [int(cell) for row in steps for cell in row] == [1, 2, 3, 4, 5, 6]


# Latents and pictures


async def test_scrubbing_through_evaluations(root: Path) -> None:
    async with watching(root, "old") as (app, pilot):
        await settle(pilot, app, "3")
        assert "epoch 6 (6 of 6)" in text_of(app, "#caption")
        await pilot.press("left_square_bracket", "left_square_bracket")
        assert "epoch 4 (4 of 6)" in text_of(app, "#caption")
        await pilot.press("left_curly_bracket")
        assert "epoch 1 (1 of 6)" in text_of(app, "#caption")
        await pilot.press("4")
        await pilot.pause()
        assert "epoch 1 (1 of 6)" in screen_text(app)
        await pilot.press("right_curly_bracket")
        assert "epoch 6 (6 of 6)" in screen_text(app)


async def test_latents_in_other_planes_zoomed_and_panned(root: Path) -> None:
    async with watching(root, "old") as (app, pilot):
        await settle(pilot, app, "3")
        plot = app.query_one(LatentsView).plot
        captions = []
        for _ in range(4):
            captions.append(text_of(app, "#caption").split(" · ")[1])
            await pilot.press("a")
        assert captions[0].startswith("PCA of 3 latents")
        assert captions[1:] == ["z1 across, z2 up", "z1 across, z3 up", "z2 across, z3 up"]
        left, right, *_ = plot.bounds()
        await pilot.press("plus", "right")
        closer = plot.bounds()
        assert closer[1] - closer[0] == pytest.approx((right - left) / 1.25)
        assert (closer[0] + closer[1]) / 2 > (left + right) / 2
        await pilot.press("0")
        assert plot.bounds()[:2] == pytest.approx((left, right))


async def test_classes_have_letters_and_a_ring(root: Path) -> None:
    async with watching(root, "vae") as (app, pilot):
        await settle(pilot, app, "3")
        text = screen_text(app)
        for letter in "0123456789":
            assert f"{letter} " in text_of(app, "#legend")
        assert any(0x2800 < ord(c) < 0x2900 for c in text)
        assert "ring: |z| = 1" in text


async def test_pictures_show_every_kind_and_change_size(root: Path) -> None:
    async with watching(root, "old", size=(100, 30)) as (app, pilot):
        await settle(pilot, app, "4")
        view = app.query_one(PicturesView)
        page = "\n".join(view.render_line(y).text for y in range(view.virtual_size.height))
        for heading in ("reconstructions below", "samples of the prior", "from one image"):
            assert heading in page
        assert "(not drawn" not in page
        before = view.virtual_size.height
        await pilot.press("minus", "minus")
        await pilot.pause()
        assert view.virtual_size.height < before


def pictured(app: Dashboard) -> int:
    """How many images of the first row are whole: each is as wide as it is high."""
    view = app.query_one(PicturesView)
    rows = [line.strip() for line in screen_text(app).splitlines()]
    first = next(place for place, row in enumerate(rows) if row.startswith("images above"))
    cells = rows[first + 1].count("▀")
    side = next(size for size in reversed(SIZES) if size <= min(view.size.height - 4, 28))
    assert (cells + 1) % (side + 1) == 0, f"{cells} cells are no whole images of {side}"
    assert cells <= view.size.width - 2
    return (cells + 1) // (side + 1)


def page_of(screen: str) -> list[str]:
    """The lines of the view, without its scrollbar."""
    return [line[:-2] for line in screen.splitlines()[2:-1]]


@pytest.mark.parametrize("size", [(80, 24), (100, 30), (120, 40), (200, 60)])
async def test_pictures_are_right_from_the_first_frame(root: Path, size: tuple[int, int]) -> None:
    async with watching(root, "old", size=size) as (app, pilot):
        took = []
        for _ in range(3):
            app.action_view("live")
            await pilot.pause()
            app.action_view("pictures")
            drawing = 0.0
            while "images above" not in (now := screen_text(app)):
                before = time.process_time()  # what it costs to look does not count
                await asyncio.sleep(0.01)
                drawing += time.process_time() - before
            took.append(drawing)
            images = pictured(app)
            await pilot.pause(0.3)
            assert page_of(screen_text(app)) == page_of(now)
        # Of this process: what else the machine does must not fail the test.
        assert min(took) < 0.3, f"{took} s to the first picture"
        await pilot.resize_terminal(60, size[1])
        await pilot.pause()
        assert 1 <= pictured(app) < images
        await pilot.resize_terminal(*size)
        await pilot.pause()
        assert pictured(app) == images


# Runs and comparison


def order(app: Dashboard) -> list[str]:
    return [summary.name for summary in app.query_one(RunsView).listed()]


async def test_runs_are_sorted_and_filtered(root: Path) -> None:
    async with watching(root) as (app, pilot):
        await settle(pilot, app, "5")
        assert order(app) == ["live", "vae", "old"]  # by age
        await pilot.press("o")
        assert order(app) == ["live", "old", "vae"]  # by name
        await pilot.press("O")
        assert order(app) == ["vae", "old", "live"]
        await pilot.press("slash", *"stopped")
        assert order(app) == ["vae"]
        await settle(pilot, app, "enter", "enter")
        assert app.opened == root / "vae"
        await pilot.press("5", "escape")
        assert len(order(app)) == 3


async def test_runs_without_a_figure_come_last_either_way(root: Path) -> None:
    async with watching(root) as (app, pilot):
        await settle(pilot, app, "5")
        await pilot.press(*"o" * 9)  # on to acceptance, which the vae does not have
        assert "by accept, ascending" in screen_text(app)
        assert order(app)[-1] == "vae"
        await pilot.press("O")
        assert "by accept, descending" in screen_text(app)
        assert order(app)[-1] == "vae"


async def test_marked_runs_are_compared(root: Path) -> None:
    async with watching(root, "live") as (app, pilot):
        await settle(pilot, app, "5")
        await settle(pilot, app, "down", "down", "space")
        assert app.marked == (root / "old",)
        await settle(pilot, app, "6")
        table = app.query_one("#compare").query_one(DataTable)
        rows = {str(table.get_row_at(i)[0]): table.get_row_at(i) for i in range(table.row_count)}
        assert [str(cell) for cell in rows["steps"][1:]] == ["1", "2"]
        assert "hidden" not in rows
        await pilot.press("a")
        await pilot.pause()
        assert table.row_count > 30
        await settle(pilot, app, "5", "space")
        assert app.marked == ()


async def test_a_draw_sees_one_look(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The watcher may look again while a view is drawn."""
    async with watching(root, "live", "old", "vae") as (app, pilot):
        await settle(pilot, app, "6")
        app.watcher.stop()
        app.watcher.join()
        three = app.frames
        two = {path: three[path] for path in (root / "live", root / "old")}
        looks = itertools.cycle([three, two, two])
        monkeypatch.setattr(Watcher, "frames", property(lambda _: next(looks)), raising=False)
        compare = app.query_one(CompareView)
        for _ in range(6):
            app.looked()
            await pilot.pause()
            exported = compare.export()
            assert all(len(row) == len(exported.header) for row in exported.rows)


async def test_next_run_and_the_one_before(root: Path) -> None:
    async with watching(root) as (app, pilot):
        await pilot.press("n")
        assert app.opened == root / "vae"
        await pilot.press("b", "b")
        assert app.opened == root / "old"


# Replay


async def test_replay_runs_holds_and_ends(root: Path) -> None:
    async with watching(root, "old") as (app, pilot):
        await pilot.press("R")
        await pilot.pause()
        assert app.replaying is not None
        shown = app.shown
        assert shown is not None
        assert len(shown.history) < 30
        await pilot.press("space")
        assert not app.replaying.playing
        at = app.replaying.at
        await pilot.press("right_square_bracket", "greater_than_sign")
        assert app.replaying.at > at
        await pilot.press("p")
        assert sent(root / "old") is None
        await pilot.press("right_curly_bracket")
        shown = app.shown
        assert shown is not None
        assert shown.finished is not None
        await pilot.press("R")
        assert app.replaying is None


async def test_a_live_run_has_no_replay(root: Path) -> None:
    async with watching(root) as (app, pilot):
        await pilot.press("R")
        await pilot.pause()
        assert app.replaying is None
        assert "a replay is for runs that have ended" in app.said


# Export, help, commands


async def test_every_view_exports(root: Path, tmp_path: Path) -> None:
    out = {
        view: {ending: tmp_path / f"{view}.{ending}" for ending in ("csv", "json", "svg")}
        for view in range(1, 7)
    }
    async with watching(root, "old", "vae", size=(80, 24)) as (app, pilot):
        for view, files in out.items():
            await settle(pilot, app, str(view))
            for file in files.values():
                await pilot.press("e")
                await pilot.pause()
                app.screen.query_one(Input).value = str(file)
                await pilot.press("enter")
                await pilot.pause()
                assert len(app.screen_stack) == 1

    for files in out.values():
        rows = list(csv.reader(files["csv"].open()))
        objects = json.loads(files["json"].read_text())
        assert len(rows) == len(objects) + 1 > 1
        assert list(objects[0]) == rows[0]
        assert files["svg"].read_text().startswith("<svg")


async def test_latents_are_exported_as_they_are_drawn(root: Path) -> None:
    async with watching(root, "old") as (app, pilot):
        await settle(pilot, app, "3")
        drawn = app.query_one(LatentsView).export()
        app.evaluation = 0  # not drawn yet
        exported = app.query_one(LatentsView).export()
        assert drawn is not None
        assert drawn == exported
        assert drawn.name == "old-latents-epoch-6"
        app.draw()
        exported = app.query_one(LatentsView).export()
        assert exported is not None
        assert exported.name == "old-latents-epoch-1"
        assert exported.rows != drawn.rows


async def test_export_refuses_what_it_cannot_write(root: Path, tmp_path: Path) -> None:
    (tmp_path / "taken.csv").write_text("mine")
    async with watching(root, "old") as (app, pilot):
        await pilot.press("e")
        await pilot.pause()
        for name in ("taken.csv", "a.xlsx", "no/such/folder.csv", ""):
            app.screen.query_one(Input).value = str(tmp_path / name) if name else ""
            await pilot.press("enter")
            await pilot.pause()
            assert isinstance(app.screen, Ask)
        await pilot.press("escape")

    assert (tmp_path / "taken.csv").read_text() == "mine"


async def test_help_and_palette_know_every_key(root: Path) -> None:
    async with watching(root) as (app, pilot):
        await pilot.press("question_mark")
        await pilot.pause()
        assert isinstance(app.screen, Help)
        page = str(app.screen.query_one(Static).render())
        await pilot.press("escape")
        titles = {command.title for command in app.get_system_commands(app.screen)}
        for binding in app.BINDINGS:
            assert binding.description in titles
            shown = {"left_square_bracket": "[", "right_square_bracket": "]"}
            key = shown.get(binding.key, binding.key_display or binding.key)
            if len(key) == 1:
                assert f" {key}" in page, key


async def test_themes_change_while_it_runs(root: Path) -> None:
    async with watching(root) as (app, pilot):
        for theme in ("textual-light", "ansi-dark", "nord"):
            app.theme = theme
            await pilot.pause()
        assert "running" in screen_text(app)


async def test_small_and_smaller(root: Path) -> None:
    async with watching(root, "old", "vae") as (app, pilot):
        for size in ((40, 10), (12, 4), (1, 1), (80, 24)):
            await pilot.resize_terminal(*size)
            for key in "123456":
                await pilot.press(key)
                await pilot.pause()
        assert "old" in screen_text(app)


async def test_settings_of_another_version_are_shown(root: Path) -> None:
    edit_config(root / "old", brand_new={"a": [1]}, steps="many", mh="perhaps", target_accept=7)
    async with watching(root, "old", "vae") as (app, pilot):
        for key in "123456":
            await settle(pilot, app, key)
        table = app.query_one("#compare").query_one(DataTable)
        names = [str(table.get_row_at(i)[0]) for i in range(table.row_count)]
        assert "brand_new" in names
