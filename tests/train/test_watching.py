"""Troubles are noticed once, with the remedy; a healthy run hears nothing."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from lae_fast.config import TrainConfig
from lae_fast.data import load
from lae_fast.models.build import build_model
from lae_fast.runs.events import Evaluated, Message
from lae_fast.runs.health import STUCK_ITERATIONS
from lae_fast.train import train
from lae_fast.train.trainers.base import IterationStats
from lae_fast.train.watching.chain_check import check_chain
from lae_fast.train.watching.snapshot import line, traversals, write_snapshot
from lae_fast.train.watching.validate import validate
from lae_fast.train.watching.warnings import Watch


def stats(accept: float, loss: float = 100.0) -> IterationStats:
    return IterationStats(10, loss, 1.0, accept, accept)


def test_a_stuck_chain_is_said_once() -> None:
    watch = Watch(has_chain=True)
    said = [text for _ in range(10 * STUCK_ITERATIONS) for text in watch.iteration(stats(0.001))]
    assert len(said) == 1
    assert "stuck chain" in said[0]
    assert "--step-size" in said[0]


def test_a_chain_that_moves_hears_nothing() -> None:
    watch = Watch(has_chain=True)
    assert not [t for k in range(3000) for t in watch.iteration(stats(0.05 * (k % 2)))]
    assert not list(watch.evaluation(100.0, 80.0))
    assert not list(watch.evaluation(99.0, 80.0))


def test_no_chain_cannot_be_stuck() -> None:
    watch = Watch(has_chain=False)
    assert not [t for _ in range(2000) for t in watch.iteration(stats(math.nan))]


def test_divergence_and_unused_latents() -> None:
    watch = Watch(has_chain=True)
    for _ in range(600):
        list(watch.iteration(stats(0.9)))
    assert not list(watch.evaluation(100.0, 30.0))
    assert "diverging" in next(watch.evaluation(250.0, 30.0))
    assert "become noise" in next(watch.evaluation(120.0, 0.1))
    assert not list(watch.evaluation(260.0, 0.1))


def test_a_young_decoder_may_ignore_its_latents() -> None:
    assert not list(Watch(has_chain=True).evaluation(500.0, 0.0))


def config(tmp_path: Path, **settings: object) -> TrainConfig:
    base = {"hidden": 32, "latent_dim": 3, "steps": 3, "epochs": 2, "device": "cpu"}
    return TrainConfig(**base | {"run_root": str(tmp_path)} | settings)


def test_training_with_a_hopeless_step_size_is_warned_of(tmp_path: Path) -> None:
    hopeless = config(
        tmp_path, step_size=50.0, whiten=False, epochs=70, batch_size=108, patience=0, steps=1
    )
    texts = [e.text for e in train(hopeless) if isinstance(e, Message) and e.level == "warning"]
    assert any("stuck chain" in text for text in texts)


@pytest.mark.parametrize("accept", ["image", "batch"])
def test_evaluations_carry_diagnostics_of_the_chain(tmp_path: Path, accept: str) -> None:
    last = [e for e in train(config(tmp_path, accept=accept)) if isinstance(e, Evaluated)][-1]
    assert last.ess_per_step is not None
    assert 0 < last.ess_per_step < 1
    assert last.split_rhat is not None
    assert last.split_rhat > 0.99


@pytest.mark.parametrize("start", ["point", "gaussian"])
def test_the_check_tells_a_long_step_from_a_tiny_one(tmp_path: Path, start: str) -> None:
    settings = config(tmp_path, start=start)
    model = build_model(settings, (1, 8, 8))
    images = load("digits").validation
    long = check_chain(settings, model, images, 0.2)
    tiny = check_chain(settings, model, images, 1e-6)
    assert long.ess_per_step > 2 * tiny.ess_per_step
    assert tiny.split_rhat > long.split_rhat


@pytest.mark.parametrize("latent_dim", [1, 3])
def test_a_snapshot_holds_every_picture(tmp_path: Path, latent_dim: int) -> None:
    model = build_model(config(tmp_path, latent_dim=latent_dim), (1, 8, 8))
    images = load("digits").validation
    latents = validate(model, images).latents
    write_snapshot(tmp_path / "s" / "1.npz", model, images, latents, seed=3)
    write_snapshot(tmp_path / "s" / "2.npz", model, images, latents, seed=3)
    first, second = (np.load(tmp_path / "s" / f"{k}.npz") for k in (1, 2))
    assert first["originals"].shape == first["reconstructions"].shape == (16, 1, 8, 8)
    assert first["prior_samples"].shape == (16, 1, 8, 8)
    assert first["interpolation"].shape == (8, 1, 8, 8)
    assert first["traversal"].shape == (latent_dim, 8, 1, 8, 8)
    assert first["latents"].shape == (len(images), latent_dim)
    assert all(np.array_equal(first[name], second[name]) for name in first.files)


def test_traversals_and_lines_go_where_they_say() -> None:
    points = traversals(2)
    assert bool((points[0][:, 1] == 0).all())
    assert points[1][:, 1].tolist() == sorted(points[1][:, 1].tolist())
    path = line(torch.zeros(2), torch.ones(2))
    assert path[0].tolist() == [0, 0]
    assert path[-1].tolist() == [1, 1]


def test_the_gain_from_latents_is_zero_for_a_decoder_that_ignores_them(tmp_path: Path) -> None:
    model = build_model(config(tmp_path), (1, 8, 8))
    images = load("digits").validation
    assert abs(validate(model, images).latent_gain) < 5
    with torch.no_grad():
        model.decoder.last.weight.zero_()
    assert validate(model, images).latent_gain == 0
