"""The state of a run: what follows from its events, in any order and with any numbers."""

from __future__ import annotations

import copy
import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.run_folders import NOW, PER_EPOCH, evaluated, finished, progress, started
from lae_fast import runs
from lae_fast.config import TrainConfig
from lae_fast.runs.events import CommandTaken, Event, Heartbeat, Message, decode, encode
from lae_fast.runs.state import MOST_NOTES, RunState


def told(*events: Event, **config: object) -> RunState:
    state = RunState(config)
    for event in events:
        state.apply(event)
    return state


START = started(most=4)


def test_nothing_is_known_at_first() -> None:
    state = told()
    assert (state.epochs, state.share, state.epoch_share) == (0, 0.0, 0.0)
    assert (state.best_val_loss, state.seconds_left, state.acceptance) == (None, None, None)
    assert state.has_chain


def test_the_newest_and_the_best() -> None:
    first, second = evaluated(1), evaluated(2, best=False)
    state = told(START, progress(20), first, second)
    assert state.evaluated == second
    assert state.best == first
    assert (state.epochs, state.best_epoch, state.best_val_loss) == (2, 1, first.val_loss)
    assert state.last_event == second.time
    end = finished(epochs=4, status="stopped")
    state.apply(end)
    assert (state.epochs, state.best_val_loss) == (4, end.val_loss)
    assert state.result("step_size") == end.step_size
    state.apply(started(NOW + 500))
    assert state.finished is None
    assert state.began == NOW + 500


def test_a_heartbeat_counts_until_something_else_comes() -> None:
    state = told(START, progress(1), Heartbeat(time=NOW + 2, state="paused"))
    assert state.heartbeat is not None
    assert state.last_event == NOW + 2
    state.apply(progress(2))
    assert state.heartbeat is None


def test_few_notes_are_remembered() -> None:
    state = told(*(Message(time=NOW + k, level="info", text=str(k)) for k in range(200)))
    state.apply(CommandTaken(time=NOW, command="pause", accepted=True, text="paused"))
    assert len(state.notes) == MOST_NOTES
    assert isinstance(state.notes[-1], CommandTaken)
    assert state.notes[0].text == str(200 - MOST_NOTES + 1)


def test_a_copy_stays_as_it_is() -> None:
    state = told(START, progress(1), Message(time=NOW, level="info", text="a"))
    before = copy.copy(state)
    state.apply(progress(2))
    state.apply(Message(time=NOW, level="info", text="b"))
    assert before.progress == progress(1)
    assert len(before.notes) == 1


def test_a_step_size_adapts_until_somebody_sets_it() -> None:
    def answer(accepted: bool) -> CommandTaken:
        return CommandTaken(time=NOW, command="step_size", accepted=accepted, text="")

    assert told().step_size_adapts
    assert not told(step_size=0.1).step_size_adapts
    assert told(answer(accepted=False)).step_size_adapts
    assert not told(answer(accepted=True)).step_size_adapts


def test_the_quantity_of_the_validation_loss() -> None:
    assert told(**TrainConfig().to_dict()).val_quantity == "-ELBO"
    assert told(model="vae").val_quantity == "-ELBO"
    assert told(model="lae").val_quantity == "potential"  # written before starts had spread
    assert told(model="foreign").val_quantity is None
    assert told(model=3).val_quantity is None


def test_how_far_it_is() -> None:
    state = told(START, progress(30))
    assert state.share == 30 / (4 * PER_EPOCH)
    assert state.epoch_share == 0.5


@pytest.mark.parametrize(("limit", "left"), [(None, 600.0), (100.0, 70.0), (10.0, 0.0)])
def test_seconds_left_until_the_last_epoch_or_the_time_limit(
    limit: float | None, left: float
) -> None:
    assert told(START, progress(30), max_time=limit).seconds_left == left
    assert told(START, finished(), max_time=limit).seconds_left is None


HUGE = st.one_of(st.integers(-5, 50), st.sampled_from([10**400, -(10**400), 2**70]))


def test_least_seconds_left_are_those_of_early_stopping() -> None:
    """At 2,000 images per second, an epoch of 54,000 takes 27 seconds."""
    pace = {"images_per_second": 2000.0, "seconds_left": 1e6}
    first = replace(progress(5), **pace)
    assert told(START, first, patience=0).least_seconds_left == 1e6
    state = told(START, first, patience=10)
    assert state.epoch_seconds_left == 0.75 * 27
    assert state.least_seconds_left == 10.75 * 27
    state = told(START, first, patience=10, max_time=40.0)
    assert state.least_seconds_left == 40.0 - first.elapsed
    best = replace(evaluated(1), best=True)
    worse = [replace(evaluated(epoch), best=False) for epoch in (2, 3)]
    last = replace(progress(3 * PER_EPOCH + 10), **pace)
    state = told(START, first, best, *worse, last, patience=10)
    assert state.least_seconds_left == (0.5 + 7) * 27
    assert told(START, last, finished(), patience=10).least_seconds_left is None


@given(HUGE, HUGE, st.floats())
def test_no_claim_of_a_log_is_too_large(images: int, patience: int, pace: float) -> None:
    start = replace(START, train_images=images)
    state = told(start, replace(progress(1), images_per_second=pace), patience=patience)
    assert state.least_seconds_left is None or isinstance(state.least_seconds_left, float)
    assert state.epoch_seconds_left is None or isinstance(state.epoch_seconds_left, float)


def test_settings_of_the_wrong_kind_count_as_missing() -> None:
    state = told(mh="perhaps", target_accept=7, steps="many", model=3, max_time=[])
    assert state.mh
    assert state.target_accept == 0.574
    assert state.setting("steps", int) is None
    assert state.has_chain
    assert state.seconds_left is None
    assert not told(model="vae").has_chain
    assert not told(mh=False).mh


@given(HUGE, HUGE, HUGE, HUGE)
def test_shares_lie_between_0_and_1(epoch: int, iteration: int, each: int, most: int) -> None:
    start = replace(START, iterations_per_epoch=each, max_epochs=most)
    state = told(start, replace(progress(1), epoch=epoch, iteration=iteration))
    assert 0.0 <= state.share <= 1.0
    assert 0.0 <= state.epoch_share <= 1.0


def test_logs_call_the_seconds_left_eta(tmp_path: Path) -> None:
    """Run folders of every version load, and have the same columns when exported."""
    line = encode(progress(3))
    assert json.loads(line)["eta"] == 600.0
    assert "seconds_left" not in line
    assert decode(line) == progress(3)
    older = json.dumps({k: v for k, v in reversed(json.loads(line).items()) if k != "memory_bytes"})
    assert decode(older) == progress(3, memory_bytes=None)
    (tmp_path / runs.EVENTS_FILE).write_text(f"{line}\n{older}\n")
    with (tmp_path / "out.csv").open("w+") as out:
        runs.export(tmp_path, "csv", out)
        out.seek(0)
        assert "eta" in out.readline().split(",")


def test_quick_and_whole_reading_agree(tmp_path: Path) -> None:
    with runs.RunWriter(tmp_path) as log:
        log.append(started(most=9))
        for epoch in range(1, 6):
            for k in range(200):
                log.append(progress((epoch - 1) * PER_EPOCH + 1 + k % PER_EPOCH))
            log.append(evaluated(epoch, best=epoch == 2))
    assert (tmp_path / runs.EVENTS_FILE).stat().st_size > 1 << 17
    quick, whole = (runs.summarise(tmp_path, now=NOW, quick=quick) for quick in (True, False))
    assert quick == whole
    assert whole.best_epoch == 2
    assert whole.elapsed == evaluated(5).elapsed
    assert not math.isnan(whole.train_loss or math.nan)


def test_a_time_limit_counts_for_the_bar_and_the_time_left() -> None:
    state = told(START, progress(20, elapsed=30.0, seconds_left=600.0), max_time=40.0)
    assert state.share == pytest.approx(0.75)
    assert state.seconds_left == pytest.approx(10.0)
    assert told(START, progress(20, elapsed=30.0)).share == pytest.approx(0.25)


def test_a_check_of_the_chain_is_remembered() -> None:
    first = evaluated(1, ess_per_step=0.1)
    state = told(START, first, evaluated(2, ess_per_step=None), evaluated(3, ess_per_step=None))
    assert state.checked == first


def test_a_step_size_set_by_a_viewer_is_told_from_an_adapted_one() -> None:
    answers = [
        CommandTaken(time=NOW, command="step_size", accepted=accepted, text="")
        for accepted in (False, True)
    ]
    assert not told(START, answers[0]).step_size_set
    assert told(START, answers[1], started(NOW + 500)).step_size_set
