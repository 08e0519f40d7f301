"""The training loop: events, run folder, early stopping, stop requests, failures."""

from __future__ import annotations

import itertools
import json
import math
import traceback
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from lae_fast import runs
from lae_fast.config import AUTO, ConfigError, TrainConfig
from lae_fast.config.settings import from_dict
from lae_fast.errors import CheckpointError
from lae_fast.models.build import build_model
from lae_fast.ops.devices import pick_device
from lae_fast.runs import checkpoint
from lae_fast.runs.events import (
    CommandTaken,
    Evaluated,
    Event,
    Heartbeat,
    Message,
    Progress,
    RunFinished,
    RunStarted,
)
from lae_fast.train import StopRequest, TrainingError, train
from lae_fast.train.trainers.step_size import (
    BATCH_CAP,
    DRAWN_CAP,
    IMAGE_CAP,
    LATE_START,
    StepSizeControl,
)


def config(tmp_path: Path, **settings: object) -> TrainConfig:
    defaults = {
        "run_root": str(tmp_path),
        "epochs": 3,
        "steps": 2,
        "hidden": 32,
        "latent_dim": 2,
        "device": "cpu",
        "learning_rate": 1e-3,
    }
    return from_dict({**defaults, **settings})


def test_tf32_without_cuda_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="tf32 needs a CUDA device"):
        next(train(config(tmp_path, precision="tf32")))
    assert not list(tmp_path.iterdir())


def test_a_run_tells_its_story_in_events_and_on_disk(tmp_path: Path) -> None:
    events = list(train(config(tmp_path)))
    started, finished = events[0], events[-1]
    assert isinstance(started, RunStarted)
    assert isinstance(finished, RunFinished)
    evaluated = [e for e in events if isinstance(e, Evaluated)]
    assert [e.epoch for e in evaluated] == [1, 2, 3]
    assert any(isinstance(e, Progress) for e in events)
    assert finished.status == "finished"
    assert finished.val_loss == min(e.val_loss for e in evaluated)
    assert finished.iterations == 3 * started.iterations_per_epoch
    run = Path(started.run)
    assert runs.EventReader(run).poll() == events
    assert json.loads((run / "config.json").read_text())["hidden"] == 32
    with np.load(run / evaluated[-1].snapshot) as snapshot:
        assert snapshot["latents"].shape[1] == 2
        assert snapshot["originals"].shape == snapshot["reconstructions"].shape


def test_the_optimiser_steps_five_frames_below_train(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader who looks for the step finds it: train, events, epoch, worker, trainer."""
    seen = []

    def step(self: torch.optim.Adam) -> None:
        names = [f.name for f in traceback.extract_stack() if "lae_fast/" in f.filename]
        seen.append(names[names.index("train") :])

    monkeypatch.setattr(torch.optim.Adam, "step", step)
    next(e for e in train(config(tmp_path, epochs=1)) if isinstance(e, Evaluated))
    assert len(seen[0]) <= 5, seen[0]


def test_training_learns_with_a_chain_that_moves(tmp_path: Path) -> None:
    events = list(train(config(tmp_path, epochs=25, steps=5, hidden=64)))
    evaluated = [e for e in events if isinstance(e, Evaluated)]
    assert evaluated[-1].val_loss < evaluated[0].val_loss - 5
    assert all(0.2 < e.accept_rate <= 1 for e in evaluated)
    assert all(s > 0.05 for s in evaluated[-1].latent_std)


def test_the_best_and_last_weights_are_kept_and_load(tmp_path: Path) -> None:
    settings = config(tmp_path)
    events = list(train(settings))
    run, finished = Path(events[0].run), events[-1]
    tensors, about = checkpoint.read(run, "best")
    assert about["val_loss"] == finished.val_loss
    assert about["epoch"] == finished.best_epoch
    build_model(settings, (1, 8, 8)).load_state_dict(tensors)
    assert checkpoint.read(run, "last")[1]["epoch"] == 3


def test_the_same_seed_gives_the_same_run_and_another_does_not(tmp_path: Path) -> None:
    def phi(seed: int) -> torch.Tensor:
        events = list(train(config(tmp_path, seed=seed, epochs=2)))
        return checkpoint.read(Path(events[0].run), "last")[0]["phi"]

    first = phi(1)
    assert torch.equal(first, phi(1))
    assert not torch.equal(first, phi(2))


@pytest.mark.parametrize(("model", "last"), [("vae", 7), ("frozen", 3)])
def test_early_stopping_waits_for_the_end_of_the_warm_up(
    tmp_path: Path, model: str, last: int
) -> None:
    """Five epochs of it; a model without a KL term has nothing to wait for."""
    # Updates of this size leave every bit of the weights as it was: only the first epoch is best.
    settings = {"model": model, "epochs": 500, "patience": 2, "learning_rate": 1e-30}
    *_, finished = train(config(tmp_path, kl_warmup=5, **settings))
    assert isinstance(finished, RunFinished)
    assert (finished.status, finished.epochs) == ("stopped-early", last)


def test_early_stopping_waits_for_patience(tmp_path: Path) -> None:
    # A learning rate this small cannot improve on noise for long.
    events = list(train(config(tmp_path, epochs=500, patience=2, learning_rate=1e-12)))
    finished = events[-1]
    assert finished.status == "stopped-early"
    assert finished.epochs == finished.best_epoch + 2


def test_a_stop_request_ends_the_run_with_weights_saved(tmp_path: Path) -> None:
    stop = StopRequest()
    stream = train(config(tmp_path, epochs=1000, patience=0), stop)
    events = list(itertools.islice(stream, 6))
    stop.request()
    events += list(stream)
    assert events[-1].status == "interrupted"
    assert math.isfinite(events[-1].val_loss)
    whole_epochs = events[-1].iterations // events[0].iterations_per_epoch
    assert checkpoint.read(Path(events[0].run), "last")[1]["epoch"] == whole_epochs


def test_a_consumer_that_goes_away_loses_nothing(tmp_path: Path) -> None:
    stream = train(config(tmp_path, epochs=1000, patience=0))
    events = list(itertools.islice(stream, 6))
    stream.close()
    run = Path(events[0].run)
    assert runs.EventReader(run).poll()[:6] == events
    assert runs.summarise(run).status == "interrupted"
    epochs = max(e.epoch for e in events if isinstance(e, Evaluated))
    assert checkpoint.read(run, "last")[1]["epoch"] == epochs
    assert checkpoint.read(run, "best")[1]["epoch"] <= epochs


@pytest.mark.parametrize("asked", [False, True])
def test_ctrl_c_pressed_twice_is_no_crash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: bool
) -> None:
    stop = StopRequest()
    stream = train(config(tmp_path, epochs=1000, patience=0), stop)
    events = list(itertools.islice(stream, 6))

    def pressed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    if asked:  # the second comes while the epoch that was cut short is evaluated
        stop.request()
    monkeypatch.setattr(
        "lae_fast.train.loop.validate" if asked else "lae_fast.train.worker.Worker.train_on",
        pressed,
    )
    with pytest.raises(KeyboardInterrupt):
        list(stream)
    log = runs.EventReader(Path(events[0].run)).poll()
    assert [event for event in log if isinstance(event, RunFinished)] == [log[-1]]
    assert log[-1].status == "interrupted"


def test_max_time_ends_the_run(tmp_path: Path) -> None:
    events = list(train(config(tmp_path, epochs=100_000, patience=0, max_time=0.5)))
    assert events[-1].status == "time-limit"
    assert 0.5 <= events[-1].elapsed < 60  # and not 100,000 epochs; the machine may be busy


def test_a_numerical_failure_is_said_with_its_remedy(tmp_path: Path) -> None:
    stream = train(config(tmp_path, epochs=50, learning_rate=1e30))
    events = []
    with pytest.raises(TrainingError, match="try a lower"):  # noqa: PT012
        for event in stream:
            events.append(event)  # noqa: PERF402 - the events before the error are wanted
    assert events[-1].status == "failed"
    assert isinstance(events[-2], Message)
    assert "not finite" in events[-2].text


def test_asking_for_a_gpu_that_is_not_there_is_one_clear_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="no CUDA device"):
        pick_device("cuda")
    assert pick_device("auto").type == "cpu"


class TestStepSizeControl:
    def test_a_fixed_step_size_stays(self, tmp_path: Path) -> None:
        control = StepSizeControl(config(tmp_path, step_size=0.02))
        assert {control.update(p / 500) for p in range(500)} == {0.02}

    @pytest.mark.parametrize(
        ("settings", "cap"),
        [
            ({"start": "gaussian"}, DRAWN_CAP),
            ({"start": "point"}, IMAGE_CAP),
            ({"accept": "batch"}, BATCH_CAP),
        ],
    )
    def test_auto_starts_late_follows_slowly_and_never_passes_its_cap(
        self, tmp_path: Path, settings: dict[str, str], cap: float
    ) -> None:
        control = StepSizeControl(config(tmp_path, step_size=AUTO, **settings))
        start = control.step_size
        assert all(control.update(1.0) == start for _ in range(LATE_START))
        for _ in range(2000):
            assert control.update(1.0) <= cap
        assert control.step_size == cap
        assert control.update(0.0) > 0.9 * cap

    def test_there_is_none_without_a_chain(self, tmp_path: Path) -> None:
        control = StepSizeControl(config(tmp_path, step_size=AUTO, model="vae"))
        assert math.isnan(control.update(math.nan))

    def test_plain_coordinates_warm_up_by_dual_averaging(self, tmp_path: Path) -> None:
        control = StepSizeControl(config(tmp_path, step_size=AUTO, whiten=False))
        for _ in range(2000):  # acceptance 0.574 at a step of 1.1e-5
            control.update(math.exp(-control.step_size / 2e-5))
        assert math.exp(-control.step_size / 2e-5) == pytest.approx(0.574, abs=0.05)


class TestCommands:
    """What a viewer leaves in the run folder is carried out and answered."""

    def start(self, tmp_path: Path) -> tuple[Iterator[Event], Path]:
        stream = train(config(tmp_path, epochs=100_000, patience=0))
        return stream, Path(next(stream).run)

    def answer(self, stream: Iterator[Event], command: str) -> CommandTaken:
        return next(e for e in stream if isinstance(e, CommandTaken) and e.command == command)

    def test_pause_shows_life_and_resume_goes_on(self, tmp_path: Path) -> None:
        stream, run = self.start(tmp_path)
        runs.send_command(run, "pause")
        assert self.answer(stream, "pause").accepted
        assert isinstance(next(stream), Heartbeat)
        runs.send_command(run, "resume")
        assert self.answer(stream, "resume").accepted
        assert any(isinstance(e, Evaluated) for e in itertools.islice(stream, 5))

    def test_stop_ends_the_run_now_or_after_the_epoch(self, tmp_path: Path) -> None:
        done = []
        for args in ({}, {"after": "epoch"}):
            stream, run = self.start(tmp_path)
            runs.send_command(run, "stop", **args)
            *_, finished = stream
            assert finished.status == "stopped"
            checkpoint.read(run, "best")
            done.append(finished.iterations)
        now, after_the_epoch = done
        (started, *_) = runs.EventReader(run).poll()
        assert now < after_the_epoch == started.iterations_per_epoch

    def test_checkpoint_writes_the_weights(self, tmp_path: Path) -> None:
        stream, run = self.start(tmp_path)
        with pytest.raises(CheckpointError):
            checkpoint.read(run, "last")
        runs.send_command(run, "checkpoint")
        assert self.answer(stream, "checkpoint").accepted
        checkpoint.read(run, "last")

    def test_a_stop_request_ends_a_pause(self, tmp_path: Path) -> None:
        stop = StopRequest()
        stream = train(config(tmp_path, epochs=100_000), stop)
        runs.send_command(Path(next(stream).run), "pause")
        self.answer(stream, "pause")
        stop.request()
        assert list(stream)[-1].status == "interrupted"
