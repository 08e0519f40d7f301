"""Training of the models beside the fully connected LAE."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from helpers import small_runs
from lae_fast.analysis import explore
from lae_fast.analysis.evaluate import evaluate_run
from lae_fast.analysis.saved import SavedRun, held_out_images, open_run
from lae_fast.config import ConfigError, TrainConfig
from lae_fast.data import to_pixels
from lae_fast.models import VAE
from lae_fast.models.build import build_model
from lae_fast.sampling import ald
from lae_fast.train.trainers.base import standard_normal
from lae_fast.train.trainers.controls import VAETrainer
from lae_fast.train.trainers.hoffman import HoffmanTrainer


def val_loss(run: SavedRun) -> float:
    images = held_out_images(run.config)
    x = to_pixels(images.images)
    terms = run.model.given(images.labels).terms(x, torch.zeros(len(x), 4))
    return float(torch.stack(terms).sum(0).mean())


UNTRAINED = 64 * 0.6931
"""Nats an image of a decoder that says one half for every pixel."""


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"model": "lae", "architecture": "conv"}, marks=pytest.mark.slow),
        {"model": "vae", "architecture": "conv", "epochs": 3},
        {"model": "hoffman"},
        pytest.param(
            {"model": "hoffman", "mh": False, "architecture": "conv"}, marks=pytest.mark.slow
        ),
        {"model": "lae", "conditional": True},
        {"model": "vae", "conditional": True},
    ],
)
def test_it_learns_and_comes_back(settings: dict[str, Any], tmp_path: Path) -> None:
    run = open_run(small_runs.trained(tmp_path, **{"latent_dim": 4, "steps": 2, **settings}))
    assert val_loss(run) < UNTRAINED - 3


def test_held_out_likelihood_knows_the_labels(tmp_path: Path) -> None:
    run = small_runs.trained(tmp_path, model="vae", conditional=True, latent_dim=2)
    assert evaluate_run(run, images=20, samples=50).nll < UNTRAINED - 3


@pytest.mark.parametrize("settings", [{"architecture": "conv"}, {"conditional": True}])
def test_what_cannot_be_built_leaves_no_folder(settings: dict[str, Any], tmp_path: Path) -> None:
    np.save(tmp_path / "small.npy", np.zeros((9, 3, 3), np.uint8))
    with pytest.raises(ConfigError):
        small_runs.trained(tmp_path / "runs", dataset=str(tmp_path / "small.npy"), **settings)
    assert not (tmp_path / "runs").exists()


def test_conditional_samples_follow_their_label(tmp_path: Path) -> None:
    """Samples of a class are nearer to the mean image of that class than to any other."""
    run = open_run(
        small_runs.trained(tmp_path, model="vae", conditional=True, latent_dim=4, epochs=40)
    )
    images = held_out_images(run.config)
    x = to_pixels(images.images)
    means = torch.stack([x[images.labels == k].mean(0) for k in range(10)])
    right = 0
    for label in range(10):
        of_class = explore.choose_label(run, str(label), lambda: images)
        samples = to_pixels(explore.sample(of_class, 20, seed=label))
        right += int((torch.cdist(samples, means).argmin(1) == label).sum())
    assert right > 120


def test_samples_of_the_datas_law_follow_their_label(tmp_path: Path) -> None:
    """The latents' law needs every held-out image's own label, the decoder the chosen one."""
    run = open_run(small_runs.trained(tmp_path, model="vae", conditional=True, latent_dim=2))
    images = held_out_images(run.config)
    ones, twos = (explore.choose_label(run, name, lambda: images) for name in "12")
    one, two, again = (explore.sample(r, 8, law="data", images=images) for r in (ones, twos, ones))
    assert torch.equal(one, again)
    assert not torch.equal(one, two)


class TestConditionalTrainer:
    def build(self) -> tuple[VAE, VAETrainer]:
        config = TrainConfig(model="vae", conditional=True, hidden=8, latent_dim=2, depth=1)
        model = build_model(config, (1, 2, 3), classes=3).double()
        assert isinstance(model, VAE)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
        return model, VAETrainer(model, optimizer, ald.make_rng(3, "cpu"))

    def test_gradients_are_those_at_the_batchs_labels(self) -> None:
        model, trainer = self.build()
        x, labels = torch.rand(4, 6, dtype=torch.float64), torch.tensor([0, 2, 1, 1])
        trainer.iteration(x, labels=labels.flip(0))
        model.zero_grad()
        # Also a second time: nothing of the batch before is left.
        trainer.rng.copy_(ald.make_rng(3))
        trainer.iteration(x, labels=labels)
        got = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
        model.zero_grad()
        nll, kl = model.given(labels).terms(x, standard_normal((4, 2), x, ald.make_rng(3), 0))
        (nll + kl).sum().backward()
        for name, parameter in model.named_parameters():
            torch.testing.assert_close(got[name], parameter.grad, rtol=1e-9, atol=1e-9)

    def test_without_labels(self) -> None:
        _, trainer = self.build()
        with pytest.raises(RuntimeError, match="a conditional model needs labels"):
            trainer.iteration(torch.rand(4, 6, dtype=torch.float64))


class TestHoffman:
    def test_gradients_are_the_written_out_ones(self) -> None:
        """Encoder: of the bound. Decoder: of the mean over the chain's states."""
        config = TrainConfig(model="hoffman", hidden=8, latent_dim=2, depth=1)
        model = build_model(config, (1, 2, 3)).double()
        assert isinstance(model, VAE)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
        rng = ald.make_rng(3, "cpu")
        trainer = HoffmanTrainer(model, optimizer, rng, steps=1, step_size=1e-24)
        x = torch.rand(4, 6, dtype=torch.float64)
        trainer.iteration(x)
        got = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
        noise = standard_normal((4, 2), x, ald.make_rng(3), 0)
        model.zero_grad()
        nll, kl = model.terms(x, noise)
        (nll + kl).sum().backward()
        # With so small a step the chain stays at the draw, so the decoder's is the bound's too.
        for name, parameter in model.named_parameters():
            torch.testing.assert_close(got[name], parameter.grad, rtol=1e-9, atol=1e-9)

    @pytest.mark.parametrize("mh", [True, False])
    def test_chains_move_each_image_on_its_own(self, mh: bool) -> None:
        config = TrainConfig(model="hoffman", hidden=8, latent_dim=2, depth=1)
        model = build_model(config, (1, 2, 3))
        assert isinstance(model, VAE)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
        rng = ald.make_rng(3, "cpu")
        trainer = HoffmanTrainer(model, optimizer, rng, steps=20, step_size=0.5, mh=mh)
        stats = trainer.iteration(torch.rand(200, 6))
        assert stats.accept_rate == 1 if not mh else 0.5 < stats.accept_rate < 1
        assert 0.5 < stats.accept_prob < 1
