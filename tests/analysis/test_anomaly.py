"""Anomaly detection with scores whose laws are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from lae_fast import data
from lae_fast.analysis.anomaly import anomaly_scores, detect, rotated
from lae_fast.data import DataError, ImageSet
from lae_fast.models.lae import LAE, mlp_lae
from lae_fast.models.likelihoods import make_likelihood
from lae_fast.sampling.marginal import importance_sampling, refine_proposal


def noise_images(n: int, level: int, seed: int, side: int = 6) -> ImageSet:
    """Images whose pixels are uniform on 0..level."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, level + 1, (n, 1, side, side), generator=generator)
    return ImageSet(images.to(torch.uint8), torch.zeros(n).long(), ())


def black_model() -> LAE:
    """Reconstructs every image as black, so that the squared error is the mean square."""
    model = mlp_lae(36, 2, 8, make_likelihood("gaussian", 1.0))
    with torch.no_grad():
        model.decoder.last.weight.zero_()
        model.decoder.last.bias.zero_()
    return model.requires_grad_(False)


def test_a_perfect_and_a_useless_score() -> None:
    familiar = noise_images(400, 100, seed=0)
    perfect = detect(black_model(), familiar, noise_images(100, 255, seed=1))
    assert perfect.auroc == 1
    assert perfect.foreign_found == 1
    useless = detect(black_model(), familiar, noise_images(400, 100, seed=2))
    # The standard error of AUROC is about 0.03 here; four of them.
    assert useless.auroc == pytest.approx(0.5, abs=0.12)
    assert useless.familiar_kept == pytest.approx(0.954, abs=0.05)
    assert useless.foreign_found == pytest.approx(0.046, abs=0.05)


def test_the_threshold_is_two_sided_and_the_auroc_is_not() -> None:
    """Foreign images that are reconstructed too well lie outside, and below."""
    found = detect(black_model(), noise_images(400, 100, seed=0), noise_images(50, 10, seed=1))
    assert found.foreign_found == 1
    assert found.auroc == 0


def test_scores() -> None:
    images = noise_images(7, 255, seed=0)
    x = images.images.flatten(1) / 255
    model = mlp_lae(36, 2, 8, make_likelihood("bernoulli")).requires_grad_(False)
    mse = (model.decode(model.encode(x)) - x).square().mean(1)
    assert torch.allclose(anomaly_scores(model, images).float(), mse, atol=1e-6)

    def nll(z: torch.Tensor) -> torch.Tensor:
        return model.likelihood.nll(model.decoder(z), x)

    proposal = refine_proposal(nll, model.encode(x))
    truth = importance_sampling(nll, proposal, samples=4000).nll
    found = anomaly_scores(model, images, "likelihood")
    assert torch.allclose(found, truth, atol=0.3)
    assert bool((anomaly_scores(model, images, "elbo") > truth - 1).all())


def test_bad_input() -> None:
    model = black_model()
    with pytest.raises(DataError, match="give images of the same shape"):
        detect(model, noise_images(9, 9, 0), noise_images(9, 9, 0, side=5))
    with pytest.raises(DataError, match="there are 3 familiar"):
        detect(model, noise_images(3, 9, 0), noise_images(9, 9, 0))


def test_rotated() -> None:
    images = data.load("digits").validation
    assert torch.equal(rotated(images).images[:, :, 0], images.images[:, :, :, -1])


def test_test_images_need_no_training_images(tmp_path: Path) -> None:
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    images = np.arange(8, dtype=np.uint8).reshape(2, 2, 2)
    header = bytes([0, 0, 8, 3]) + np.array([2, 2, 2], ">u4").tobytes()
    (raw / "t10k-images-idx3-ubyte").write_bytes(header + images.tobytes())
    labels = bytes([0, 0, 8, 1]) + np.array([2], ">u4").tobytes() + bytes([3, 4])
    (raw / "t10k-labels-idx1-ubyte").write_bytes(labels)
    found = data.load_test("mnist", tmp_path, download=False)
    assert found.images.flatten().tolist() == list(range(8))
    assert found.labels.tolist() == [3, 4]
    with pytest.raises(DataError):
        data.load("mnist", tmp_path, download=False)
