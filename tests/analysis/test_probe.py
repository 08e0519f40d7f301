"""The linear probe on latents whose classes are known to be there, or not to be."""

from __future__ import annotations

import pytest
import torch

from helpers.image_sets import bright_images
from lae_fast import data
from lae_fast.analysis.probe import latent_law, near_chance, train_probe
from lae_fast.config import ConfigError
from lae_fast.config.presets import PROBES
from lae_fast.data import ImageSet
from lae_fast.models.lae import mlp_lae
from lae_fast.models.likelihoods import make_likelihood
from lae_fast.models.vae import mlp_vae


def passing_lae() -> torch.nn.Module:
    """An LAE whose latents are the pixels."""
    model = mlp_lae(3, 3, 3, make_likelihood("bernoulli"))
    model.encoder = torch.nn.Identity()
    model.phi.copy_(torch.eye(3))
    return model


def test_classes_in_the_latents_are_found() -> None:
    images = bright_images()
    result = train_probe(passing_lae(), images, images, epochs=60, learning_rate=0.05)
    assert result.accuracy > 0.99
    assert result.train_accuracy > 0.99
    assert result.loss < 0.2


def test_classes_that_are_not_there_are_not() -> None:
    model = passing_lae()
    model.phi.zero_()
    result = train_probe(model, bright_images(), bright_images(), epochs=20, learning_rate=0.05)
    assert result.accuracy < 0.45
    assert result.loss == pytest.approx(torch.tensor(3.0).log().item(), abs=0.05)


def test_the_published_probe_begins_with_a_relu() -> None:
    """Latents that are negative throughout say nothing to it."""
    model = passing_lae()
    model.phi.copy_(-torch.eye(3))
    how = {**PROBES["report"], "epochs": 30, "learning_rate": 0.05}
    assert train_probe(model, bright_images(), bright_images(), **how).accuracy < 0.5
    assert train_probe(model, bright_images(), bright_images(), epochs=60).accuracy > 0.95


def test_by_default_it_trains_until_the_validation_loss_stops_falling() -> None:
    splits = data.load("digits")
    torch.manual_seed(0)
    model = mlp_vae(64, 16, 32, make_likelihood("bernoulli"))
    result = train_probe(model, splits.train, splits.validation)
    assert result.accuracy > 0.6  # of random features
    assert result.updates < 3000
    few = train_probe(model, splits.train, splits.validation, updates=100)
    assert few.updates == 100
    assert few.loss > result.loss
    same = train_probe(model, splits.train, splits.validation, updates=100)
    assert same == few


def test_near_chance() -> None:
    images = bright_images(100)  # three classes
    share = float(torch.bincount(images.labels).max()) / 100
    assert near_chance(share, images)
    assert near_chance(share + 0.05, images)
    assert not near_chance(share + 0.2, images)


def test_law_of_the_latents() -> None:
    images = bright_images(10)
    vae = mlp_vae(3, 2, 8, make_likelihood("bernoulli"))
    mean, std = latent_law(vae, images)
    code = vae.encoder(images.images.flatten(1) / 255)
    assert torch.allclose(mean, code[:, :2], atol=1e-6)
    assert torch.allclose(std, code[:, 2:].exp(), atol=1e-6)
    assert float(latent_law(passing_lae(), images)[1].unique()) == pytest.approx(0.05)


def test_no_labels() -> None:
    images = ImageSet(torch.zeros(4, 1, 1, 3, dtype=torch.uint8), torch.zeros(4).long(), ())
    with pytest.raises(ConfigError, match="no classes"):
        train_probe(passing_lae(), images, images)
