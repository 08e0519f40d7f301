"""The average of the weights: its values, and that a run keeps it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from helpers.small_trainers import images, small_model, trainer_of
from lae_fast.config import TrainConfig
from lae_fast.runs import checkpoint
from lae_fast.runs.events import RunFinished
from lae_fast.train import train
from lae_fast.train.average import Average


def test_it_is_the_moving_average_of_weights_and_phi() -> None:
    """Against the sum written out, float32 to 1e-6; early iterations forget more."""
    model = small_model("bernoulli", torch.float32)
    trainer, average = trainer_of(model), Average(model, 0.5)
    want = {name: value.clone() for name, value in model.state_dict().items()}
    for iteration in range(6):
        trainer.iteration(images(torch.float32, seed=iteration))
        average.update(iteration)
        decay = min(0.5, (1 + iteration) / (10 + iteration))
        for name, value in model.state_dict().items():
            want[name] = decay * want[name] + (1 - decay) * value
    torch.testing.assert_close(dict(average.tensors()), want, rtol=1e-6, atol=1e-6)
    assert not torch.equal(average.model.phi, model.phi)


def test_without_a_decay_it_is_the_model_itself() -> None:
    model = small_model("bernoulli", torch.float32)
    average = Average(model, 0.0)
    assert average.model is model
    assert not average.tensors()


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_a_run_saves_and_validates_the_average(tmp_path: Path, ema: float) -> None:
    settings = {"dataset": "digits", "hidden": 16, "epochs": 2, "device": "cpu", "name": "run"}
    *_, finished = train(TrainConfig(**settings, ema=ema, run_root=str(tmp_path)))
    assert isinstance(finished, RunFinished)
    last, _ = checkpoint.read(tmp_path / "run", "last")
    state, _ = checkpoint.read_state(tmp_path / "run", "state")
    trained = {k.removeprefix("model/"): v for k, v in state.items() if k.startswith("model/")}
    same = all(torch.equal(value, last[name]) for name, value in trained.items())
    assert same is (ema == 0)
    if ema:
        for name, value in last.items():
            assert torch.equal(value, state[f"average/{name}"])
