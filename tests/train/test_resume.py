"""A run that was killed and resumed ends with the bytes of a run that was not."""

from __future__ import annotations

import dataclasses
import errno
import gc
import itertools
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lae_cli import exits
from lae_fast import runs
from lae_fast.config import ConfigError, TrainConfig
from lae_fast.config.settings import resumed
from lae_fast.runs import checkpoint
from lae_fast.runs.checkpoint import CheckpointError
from lae_fast.runs.events import (
    Evaluated,
    Event,
    Message,
    Progress,
    RunFinished,
    RunStarted,
    SnapshotTaken,
)
from lae_fast.runs.files import RunError
from lae_fast.train import StopRequest, TrainingError, train
from lae_fast.train import state as resume
from lae_fast.train.trainers.base import IterationStats
from lae_fast.train.trainers.lae import LAETrainer
from lae_fast.train.trainers.step_size import DRAWN_START

MOMENTS = 20
"""There are as many events in the runs below: every one of them."""


@pytest.fixture(scope="module", autouse=True)
def images(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A data set small enough to train on twenty times."""
    path = tmp_path_factory.mktemp("data") / "images.npy"
    pixels = np.random.default_rng(0).integers(0, 256, (60, 5, 5), dtype=np.uint8)
    np.save(path, pixels)
    return str(path)


def config(root: Path, images: str, **settings: object) -> TrainConfig:
    base = {
        "dataset": images,
        "hidden": 16,
        "latent_dim": 2,
        "steps": 2,
        "batch_size": 16,
        "epochs": 4,
        "device": "cpu",
        "run_root": str(root),
        "name": "run",
        "checkpoint_interval": 0.0,
        "learning_rate": 1e-2,
        "binarize": True,
    }
    return TrainConfig(**base | settings)


def files(run: Path) -> dict[str, bytes]:
    folder = run / "checkpoints"
    return {name: (folder / f"{name}.safetensors").read_bytes() for name in ("last", "best")}


def finish(settings: TrainConfig, run: Path) -> list[Event]:
    return list(train(dataclasses.replace(settings, run_root=str(run.parent)), resume=run))


@pytest.fixture(autouse=True)
def every_iteration(monkeypatch: pytest.MonkeyPatch) -> None:
    """An event each, and short checks of the chain."""
    monkeypatch.setattr("lae_fast.train.watching.meter.EVERY", 0.0)
    monkeypatch.setattr("lae_fast.train.watching.chain_check.DRAWS", 4)


VARIANTS: dict[str, dict[str, Any]] = {
    "lae": {},
    "lae-batch": {"accept": "batch"},
    "lae-gaussian": {"start": "gaussian", "kl_warmup": 7, "ema": 0.8},
    "vae": {},
    "iwae": {"samples": 3},
    "frozen": {},
    "hoffman": {},
}


@pytest.mark.parametrize("model", VARIANTS)
@pytest.mark.parametrize("threads", [1, 2])
def test_killed_at_any_moment_and_resumed(
    tmp_path: Path, images: str, model: str, threads: int
) -> None:
    """What is on the disk at a random moment is what kill -9 leaves."""
    if threads == 2 and model not in ("lae", "vae"):
        pytest.skip("one threaded model of each kind is enough")
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    kind = model.partition("-")[0]
    settings = config(tmp_path, images, model=kind, **VARIANTS[model])
    try:
        moments: list[Path] = []
        for event in train(settings):
            if isinstance(event, Progress | Evaluated):
                copy = tmp_path / f"killed-{len(moments)}" / "run"
                shutil.copytree(tmp_path / "run", copy)
                moments.append(copy)
        want = files(tmp_path / "run")
        for run in random.Random(model).sample(moments, MOMENTS if model == "lae" else 4):
            events = finish(settings, run)
            assert isinstance(events[-1], RunFinished)
            assert events[-1].status == "finished"
            assert files(run) == want
    finally:
        torch.set_num_threads(before)


@pytest.mark.slow
@pytest.mark.timeout(900)  # some forty starts of a program that loads torch
@pytest.mark.parametrize("threads", ["1", "2"])
@pytest.mark.parametrize("seed", range(int(os.environ.get("KILL_ROUNDS", "1"))))
def test_kill_9(tmp_path: Path, images: str, threads: str, seed: int) -> None:
    """Twenty real kills of one run, resumed each time, against a run left alone."""
    settings = config(tmp_path, images, epochs=300, patience=0)
    flags = [
        text
        for name in (
            "dataset",
            "hidden",
            "latent_dim",
            "steps",
            "batch_size",
            "learning_rate",
            "start",
        )
        for text in (f"--{name.replace('_', '-')}", str(getattr(settings, name)))
    ]
    lae = [sys.executable, "-m", "lae_cli", "train", "--quiet", "--run-root", str(tmp_path)]
    env = os.environ | {"OMP_NUM_THREADS": threads}
    start = [*lae, "--epochs", "300", "--patience", "0", "--checkpoint-interval", "0", *flags]
    subprocess.run([*start, "--name", "reference"], check=True, env=env)
    moments = random.Random(seed)
    command, kills = [*start, "--name", "killed"], 0
    while kills < 20:
        process = subprocess.Popen(command, env=env)
        if _wait_for_state(tmp_path / "killed", process):
            time.sleep(moments.uniform(0, 0.3))
            process.send_signal(signal.SIGKILL)
            kills += 1
        if process.wait() == 0:
            break
        command = [*lae, "--resume", "killed"]
    subprocess.run([*lae, "--resume", "killed"], check=True, env=env)
    assert kills > 3
    assert files(tmp_path / "killed") == files(tmp_path / "reference")


def _wait_for_state(run: Path, process: subprocess.Popen[bytes]) -> bool:
    state = run / "checkpoints" / "state.safetensors"
    before = _written(state)
    while process.poll() is None:
        if _written(state) not in (0, before):
            return True
        time.sleep(0.01)
    return False


def _written(path: Path) -> int:
    """When, or 0 while it is not there: between two renames there is only the previous state."""
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def test_no_state_counts_an_epoch_that_the_log_does_not_tell(
    tmp_path: Path, images: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or a kill between the two would leave that epoch out of the log for ever. And none has
    finished an epoch that it does not count: the log would tell of that one twice."""
    save, epochs = resume.save, []
    (started, *_) = train(config(tmp_path, images, name="whole"))
    per_epoch = started.iterations_per_epoch

    def looked_at(run: Path, *args: object) -> None:
        save(run, *args)
        told = [e.epoch for e in runs.EventReader(run).poll() if isinstance(e, Evaluated)]
        facts = resume.load(run).facts
        counted = facts["keeper"]["epoch"]
        assert facts["meter"]["iteration"] < (counted + 1) * per_epoch
        epochs.append(counted)
        assert told == list(range(1, counted + 1))

    monkeypatch.setattr(resume, "save", looked_at)
    list(train(config(tmp_path, images)))
    assert set(epochs) == {0, 1, 2, 3, 4}


def test_an_interrupted_run_resumes_to_the_same_end(tmp_path: Path, images: str) -> None:
    settings = config(tmp_path, images, name="whole")
    list(train(settings))
    stop = StopRequest()
    cut = dataclasses.replace(settings, name="cut", checkpoint_interval=1e9)
    for event in train(cut, stop):
        if isinstance(event, Evaluated) and event.epoch == 2:
            stop.request()
    assert runs.read_config(tmp_path / "cut")["name"] == "cut"
    events = finish(cut, tmp_path / "cut")
    assert isinstance(events[0], RunStarted)
    assert 8 <= events[0].iteration < 16
    whole, resumed_run = (files(tmp_path / name) for name in ("whole", "cut"))
    tensors = [checkpoint.read(tmp_path / name, "last")[0] for name in ("whole", "cut")]
    assert all(torch.equal(tensors[0][key], tensors[1][key]) for key in tensors[0])
    assert whole == resumed_run


def test_a_finished_run_goes_on_when_it_may(tmp_path: Path, images: str) -> None:
    settings = config(tmp_path, images, epochs=2)
    list(train(settings))
    assert finish(settings, tmp_path / "run")[-1].epochs == 2
    longer = resumed(runs.read_config(tmp_path / "run"), {"epochs": 4})
    assert finish(longer, tmp_path / "run")[-1].epochs == 4
    list(train(config(tmp_path, images, name="whole")))
    assert files(tmp_path / "run") == files(tmp_path / "whole")


def test_other_settings_cannot_change() -> None:
    saved = TrainConfig().to_dict()
    with pytest.raises(ConfigError, match="--steps cannot change"):
        resumed(saved, {"steps": 3})
    with pytest.raises(ConfigError, match=r"config\.json cannot be read"):
        resumed({}, {})


def test_two_trainers_on_one_folder_are_refused(tmp_path: Path, images: str) -> None:
    settings = config(tmp_path, images)
    first = train(settings)
    for event in itertools.islice(first, 8):
        last = event
    assert last is not None
    with pytest.raises(RunError, match="another process"):
        next(train(settings, resume=tmp_path / "run"))
    first.close()
    assert finish(settings, tmp_path / "run")[-1].status == "finished"


def test_a_damaged_state_falls_back_to_the_one_before(tmp_path: Path, images: str) -> None:
    settings = config(tmp_path, images)
    list(train(settings))
    want = files(tmp_path / "run")
    state = tmp_path / "run" / "checkpoints" / "state.safetensors"
    state.write_bytes(state.read_bytes()[:200])
    finish(settings, tmp_path / "run")
    assert files(tmp_path / "run") == want


@pytest.mark.parametrize("content", [b"", b"\xff" * 64, b"\x80\x04pickle", b"{}"])
def test_no_state_that_can_be_read_is_refused(tmp_path: Path, images: str, content: bytes) -> None:
    settings = config(tmp_path, images, epochs=1)
    list(train(settings))
    for name in ("state", "state-previous"):
        (tmp_path / "run" / "checkpoints" / f"{name}.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError, match="cannot read the saved state"):
        next(train(settings, resume=tmp_path / "run"))


def test_a_state_of_other_settings_is_refused(tmp_path: Path, images: str) -> None:
    settings = config(tmp_path, images, epochs=1)
    list(train(settings))
    other = dataclasses.replace(settings, hidden=24)
    with pytest.raises(CheckpointError, match="does not fit"):
        next(train(other, resume=tmp_path / "run"))


@pytest.mark.parametrize("generators", [{}, {"generator/other": torch.zeros(2)}])
def test_a_state_with_other_generators_is_refused(
    tmp_path: Path, images: str, generators: dict[str, torch.Tensor]
) -> None:
    settings = config(tmp_path, images, epochs=1)
    list(train(settings))
    run = tmp_path / "run"
    tensors, facts = checkpoint.read_state(run, "state")
    kept = {name: value for name, value in tensors.items() if name != "generator/rng"}
    assert kept.keys() != tensors.keys()
    checkpoint.write_state(run, "state", "state-previous", kept | generators, facts)
    with pytest.raises(CheckpointError, match="another version of this program"):
        next(train(settings, resume=run))


def test_starting_from_the_weights_of_another_run(tmp_path: Path, images: str) -> None:
    list(train(config(tmp_path, images)))
    still = config(tmp_path, images, name="next", init_from="run", steps=5, learning_rate=1e-30)
    first, *_ = train(still)
    assert isinstance(first, RunStarted)
    assert first.iteration == 0
    weights, _ = checkpoint.read(tmp_path / "run", "best")
    ours, _ = checkpoint.read(tmp_path / "next", "last")
    changed = {name for name in weights if not torch.equal(weights[name], ours[name])}
    assert changed == {"phi"}  # the chain moves, whatever the learning rate
    with pytest.raises(ConfigError, match="do not fit"):
        next(train(config(tmp_path, images, name="third", init_from="run", hidden=8)))
    with pytest.raises(RunError):
        next(train(config(tmp_path, images, name="fourth", init_from="nothing")))


class TestDivergence:
    """An iteration that fails leaves the weights alone; what follows is the user's choice."""

    @pytest.fixture
    def fails_at(self, monkeypatch: pytest.MonkeyPatch) -> set[int]:
        """Calls of the trainer's iteration that raise."""
        failing: set[int] = set()
        calls = itertools.count(1)
        iteration = LAETrainer.iteration

        def flaky(self: LAETrainer, *batch: Any) -> IterationStats:
            if next(calls) in failing:
                raise TrainingError("the potential is not finite")
            return iteration(self, *batch)

        monkeypatch.setattr(LAETrainer, "iteration", flaky)
        return failing

    def test_restart_goes_on_with_half_the_step(
        self, tmp_path: Path, images: str, fails_at: set[int]
    ) -> None:
        fails_at.update({6, 9})
        events = list(train(config(tmp_path, images, on_divergence="restart")))
        said = [e.text for e in events if isinstance(e, Message)]
        assert [text for text in said if "restarted from iteration 5" in text]
        assert isinstance(events[-1], RunFinished)
        assert events[-1].status == "finished"
        assert events[-1].iterations == 16
        assert events[-1].step_size == pytest.approx(DRAWN_START / 4)

    def test_three_restarts_are_enough(
        self, tmp_path: Path, images: str, fails_at: set[int]
    ) -> None:
        fails_at.update(range(6, 100))
        with pytest.raises(TrainingError, match="not finite"):
            list(train(config(tmp_path, images, on_divergence="restart")))
        events = runs.EventReader(tmp_path / "run").poll()
        assert sum("restarted" in e.text for e in events if isinstance(e, Message)) == 3

    def test_stop_keeps_the_last_good_state(
        self, tmp_path: Path, images: str, fails_at: set[int]
    ) -> None:
        settings = config(tmp_path, images)
        list(train(dataclasses.replace(settings, name="whole")))
        fails_at.add(16 + 7)
        with pytest.raises(TrainingError):
            list(train(settings))
        assert finish(settings, tmp_path / "run")[-1].status == "finished"
        assert files(tmp_path / "run") == files(tmp_path / "whole")


def test_a_viewer_forgets_what_is_done_again(tmp_path: Path) -> None:
    from lae_cli.dashboard.following.columns import Columns

    columns = Columns(("iteration", "train_loss"), ("train_loss",))
    columns.append([IterationPoint(k, 10.0 - k) for k in range(6)])
    before = columns.copy()
    columns.cut("iteration", 3)
    columns.append([IterationPoint(4, 0.5)])
    assert columns.column("iteration").tolist() == [0, 1, 2, 3, 4]
    assert columns.column("train_loss").tolist()[-1] == 0.5
    assert before.column("train_loss").tolist() == [10, 9, 8, 7, 6, 5]


@dataclasses.dataclass
class IterationPoint:
    iteration: float
    train_loss: float


class TestMachine:
    """What the machine does to a run is told in one line, and the run goes on afterwards."""

    def test_full_disk(
        self,
        tmp_path: Path,
        images: str,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        settings = config(tmp_path, images)
        list(train(dataclasses.replace(settings, name="whole")))
        fsync, written = os.fsync, itertools.count()

        def full(file: int) -> None:
            if next(written) >= 9:
                no_space(file)
            fsync(file)

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            with pytest.raises(OSError, match="No space left"):
                list(train(settings))
        assert finish(settings, tmp_path / "run")[-1].status == "finished"
        assert files(tmp_path / "run") == files(tmp_path / "whole")

    def test_full_disk_when_the_log_is_written(
        self, tmp_path: Path, images: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Nothing but the error comes out of it: no second one from what is saved at the end."""
        unraisable: list[object] = []
        monkeypatch.setattr("sys.unraisablehook", unraisable.append)
        append, calls = runs.RunWriter.append, itertools.count()

        def full(self: runs.RunWriter, event: Event) -> None:
            if next(calls) >= 5:
                monkeypatch.setattr(os, "fsync", no_space)
                raise RunError("cannot write events.jsonl: No space left on device")
            append(self, event)

        with monkeypatch.context() as patch:
            patch.setattr(runs.RunWriter, "append", full)
            with pytest.raises(RunError, match="No space left"):
                list(train(config(tmp_path, images)))
        gc.collect()
        assert unraisable == []

    def test_a_folder_that_vanishes(self, tmp_path: Path, images: str) -> None:
        settings = config(tmp_path, images)
        with pytest.raises(OSError, match="No such file") as caught:  # noqa: PT012
            for event in train(settings):
                if isinstance(event, Evaluated):
                    shutil.rmtree(tmp_path / "run")
        assert not (tmp_path / "run").exists()
        assert exits.explain(caught.value)[0] == exits.SYSTEM

    def test_a_folder_that_may_only_be_read(
        self, tmp_path: Path, images: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        settings = config(tmp_path, images, epochs=1)
        list(train(settings))

        def refuse(*_: object) -> int:
            raise OSError(errno.EROFS, "Read-only file system")

        monkeypatch.setattr("lae_fast.runs.files.os.open", refuse)
        with pytest.raises(RunError, match="read-only"):
            next(train(settings, resume=tmp_path / "run"))

    @pytest.mark.parametrize("jump", [-1e6, 1e6])
    def test_a_clock_that_jumps(
        self, tmp_path: Path, images: str, jump: float, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        settings = config(tmp_path, images, max_time=600.0)
        list(train(dataclasses.replace(settings, name="whole")))
        now, calls = time.time, itertools.count()
        monkeypatch.setattr(time, "time", lambda: now() + (jump if next(calls) > 8 else 0.0))
        events = list(train(settings))
        assert events[-1].status == "finished"
        assert 0 <= events[-1].elapsed < 600
        assert runs.summarise(tmp_path / "run").status == "finished"
        assert files(tmp_path / "run") == files(tmp_path / "whole")


def no_space(file: int) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("device", ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"])
def test_the_same_seed_gives_the_same_bytes(
    tmp_path: Path, images: str, monkeypatch: pytest.MonkeyPatch, device: str
) -> None:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    modes = []
    for name in ("one", "two"):
        events = train(config(tmp_path, images, name=name, deterministic=True, device=device))
        modes += [torch.are_deterministic_algorithms_enabled() for _ in events]
    assert all(modes)
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert not torch.are_deterministic_algorithms_enabled()
    assert tensors_of(tmp_path / "one") == tensors_of(tmp_path / "two")
    list(train(config(tmp_path, images, name="other", seed=1)))
    assert tensors_of(tmp_path / "other") != tensors_of(tmp_path / "one")


@pytest.mark.parametrize("settings", [{}, {"start": "gaussian", "ema": 0.8}, {"model": "vae"}])
def test_pictures_inside_an_epoch_change_nothing(
    tmp_path: Path, images: str, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any]
) -> None:
    plain = list(train(config(tmp_path, images, name="plain", **settings)))
    for name, value in {"WITHIN_EPOCH": 0.0, "GROWTH": 1.0, "SHARE": 0.0}.items():
        monkeypatch.setattr(f"lae_fast.train.looks.{name}", value)
    events = list(train(config(tmp_path, images, name="pictured", **settings)))
    taken = [event for event in events if isinstance(event, SnapshotTaken)]
    assert not any(isinstance(event, SnapshotTaken) for event in plain)
    assert [(event.epoch, event.iteration) for event in taken[:4]] == [
        (1, 1),
        (1, 2),
        (1, 3),
        (2, 5),
    ]
    with np.load(tmp_path / "pictured" / taken[-1].snapshot) as found:
        assert len(found["latents"]) == len(found["labels"]) == 6
    assert tensors_of(tmp_path / "pictured") == tensors_of(tmp_path / "plain")
    assert evaluations(events) == evaluations(plain)


def evaluations(events: list[Event]) -> list[tuple[float, float]]:
    return [(e.val_loss, e.train_loss) for e in events if isinstance(e, Evaluated)]


def tensors_of(run: Path) -> list[bytes]:
    return [files(run)[name] for name in ("last", "best")]
