"""Samples, reconstructions, interpolations, traversals, latents, posteriors of a saved run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from helpers import small_runs
from lae_fast.analysis import explore
from lae_fast.analysis.infer import infer
from lae_fast.analysis.saved import SavedRun, held_out_images, open_run
from lae_fast.config import ConfigError
from lae_fast.data import ImageSet, to_pixels


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> SavedRun:
    return open_run(small_runs.trained(tmp_path_factory.mktemp("runs"), latent_dim=3))


@pytest.fixture(scope="module")
def images(saved: SavedRun) -> ImageSet:
    return held_out_images(saved.config)


def test_image_shape_is_the_trainings(saved: SavedRun) -> None:
    assert saved.image_shape == (1, 8, 8)


def test_images_that_are_not_square(tmp_path: Path) -> None:
    np.save(tmp_path / "wide.npy", np.arange(90, dtype=np.uint8).reshape(6, 3, 5))
    run = small_runs.trained(tmp_path, dataset=str(tmp_path / "wide.npy"), epochs=1)
    assert explore.sample(open_run(run), 4).shape == (4, 1, 3, 5)


def test_samples_follow_the_law_asked_for(saved: SavedRun, images: ImageSet) -> None:
    """The data's law puts decoded latents where the data's lie, whatever the prior."""
    assert torch.equal(explore.sample(saved, 3, seed=1), explore.sample(saved, 3, seed=1))
    means = explore.latents_of(saved, images).values
    drawn = []
    saved.model.decode, decode = lambda z: drawn.append(z) or decode(z), saved.model.decode
    try:
        explore.sample(saved, 4000, law="data", images=images)
    finally:
        del saved.model.decode
    assert torch.allclose(drawn[0].mean(0), means.mean(0), atol=5 * float(means.std()) / 4000**0.5)
    assert torch.allclose(drawn[0].T.cov(), means.T.cov(), rtol=0.15, atol=0.05)


def test_reconstruction_error_is_of_the_clean_image(saved: SavedRun, images: ImageSet) -> None:
    found = explore.reconstruct(saved, images)
    x = to_pixels(images.images)
    again = saved.model.decode(saved.model.encode(x))
    assert found.mse == pytest.approx(float((again - x).square().mean()), rel=1e-4)
    assert torch.equal(found.shown, images.images)
    noisy = explore.reconstruct(saved, images, noise=0.5)
    assert noisy.mse > found.mse
    assert not torch.equal(noisy.shown, images.images)


def test_points(saved: SavedRun, images: ImageSet) -> None:
    point = explore.find_point(saved, "point:0,-1.5,2", lambda: images)
    assert point.tolist() == [0, -1.5, 2]
    values = explore.latents_of(saved, images).values
    image = explore.find_point(saved, "image:5", lambda: images)
    assert torch.allclose(image, values[5], atol=1e-5)
    mean = explore.find_point(saved, "class:7", lambda: images)
    assert torch.allclose(mean, values[images.labels == 7].mean(0), atol=1e-5)


@pytest.mark.parametrize(
    "text", ["7", "point:1,2", "point:a,b,c", "point:nan,0,0", "image:-1", "image:9999", "class:x"]
)
def test_bad_points(text: str, saved: SavedRun, images: ImageSet) -> None:
    with pytest.raises(ConfigError):
        explore.find_point(saved, text, lambda: images)


def test_interpolation_hits_its_corners(saved: SavedRun) -> None:
    corners = [torch.tensor([x, y, 0.0]) for y in (1.0, -1.0) for x in (-2.0, 2.0)]
    ends = saved.as_images(saved.model.decode(torch.stack(corners)))
    rows = explore.interpolate(saved, corners, 5)
    found = torch.stack([rows[0][0], rows[0][-1], rows[-1][0], rows[-1][-1]])
    assert len(rows) == 5
    assert torch.equal(found, ends)
    (line,) = explore.interpolate(saved, corners[:2], 4)
    assert torch.equal(line[[0, -1]], ends[:2])


def test_traversal_moves_one_dimension(saved: SavedRun) -> None:
    centre, spans = torch.zeros(3), torch.tensor([1.0, 2.0, 3.0])
    found = explore.traverse(saved, centre, spans=spans, steps=3, dims=(2,))
    z = torch.tensor([[0.0, 0, -3], [0, 0, 0], [0, 0, 3]])
    assert list(found) == [2]
    assert torch.equal(found[2], saved.as_images(saved.model.decode(z)))
    with pytest.raises(ConfigError, match="no latent dimension 3"):
        explore.traverse(saved, centre, spans=spans, dims=(3,))


@pytest.mark.slow
@pytest.mark.parametrize("method", ["image", "phi"])
def test_posterior_chains_agree(method: str, saved: SavedRun, images: ImageSet) -> None:
    """Chains from different starts agree on each image's posterior; both methods have one law."""
    some = images.subset(torch.arange(6))
    found = infer(saved, some, method=method, draws=600, warmup=600)
    reference = infer(saved, some, draws=600, warmup=600, seed=7)
    assert found.rhat.max() < 1.3
    error = (found.mean - reference.mean).abs() / reference.std
    # Standard errors are about std / sqrt(ESS); six of them, for 18 quantities.
    assert bool((error < 6 * (1 / found.ess + 1 / reference.ess).sqrt()).all())
    assert found.images.shape == found.spread.shape == (6, 1, 8, 8)


def test_posterior_has_a_row_an_image(saved: SavedRun, images: ImageSet) -> None:
    found = infer(saved, images.subset(torch.arange(5)), draws=8, warmup=4, chains=2)
    assert found.chains.latents.shape == (2, 8, 5, 3)
    assert torch.allclose(found.std, found.chains.latents.flatten(0, 1).std(0))


def test_phi_needs_as_many_features_as_images(saved: SavedRun, images: ImageSet) -> None:
    with pytest.raises(ConfigError, match="at most 64 images"):
        infer(saved, images.subset(torch.arange(65)), method="phi")
