"""Algorithm 3: the classifier, its neighbours, thinned training sets."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from helpers.image_sets import bright_images
from lae_fast import data
from lae_fast.analysis import classify, fitting
from lae_fast.config import ConfigError
from lae_fast.config.presets import CLASSIFIERS
from lae_fast.data import ImageSet
from lae_fast.models.classifier import ConvClassifier
from lae_fast.models.lae import mlp_lae
from lae_fast.models.likelihoods import make_likelihood


def digits() -> data.Splits:
    return data.load("digits")


def test_the_published_network() -> None:
    model = ConvClassifier((1, 28, 28), 10)
    assert sum(p.numel() for p in model.parameters()) == 21_840
    assert model(torch.zeros(2, 1, 28, 28)).exp().sum(1).tolist() == pytest.approx([1, 1])


@pytest.mark.parametrize("shape", [(1, 4, 4), (3, 8, 8), (1, 15, 40), (3, 32, 32), (1, 17, 16)])
def test_other_sizes(shape: tuple[int, int, int]) -> None:
    assert ConvClassifier(shape, 3)(torch.zeros(2, *shape)).shape == (2, 3)


def test_too_small() -> None:
    with pytest.raises(ConfigError, match="at least 4x4"):
        ConvClassifier((1, 3, 9), 2)


def test_neighbours_come_in_runs_with_their_image() -> None:
    """With a decoder that returns its latent, a neighbour lies within noise of its own image."""
    images = bright_images(6)
    model = mlp_lae(3, 3, 3, make_likelihood("gaussian", 1.0))
    model.encoder = model.decoder = torch.nn.Identity()
    model.phi.copy_(torch.eye(3))
    index = torch.tensor([4, 2])
    near = classify.Neighbours(model, images, 3, seed=0).of(index)
    x = classify.as_pictures(images.images[index])
    assert near.shape == (6, 1, 1, 3)
    assert (near - x.repeat(3, 1, 1, 1)).abs().max() < 0.3
    assert (near[:2] - near[2:4]).abs().max() > 0.01


def test_it_learns_digits_and_says_how_well() -> None:
    splits = digits()
    model, score = classify.train_classifier(
        splits.train, splits.validation, epochs=30, learning_rate=5e-3
    )
    assert score.accuracy > 0.85
    assert len(score.curve) == 30
    assert score.curve[-1] == score.accuracy
    again = classify.score(model, splits.validation)
    assert (again.accuracy, again.loss) == (score.accuracy, score.loss)


def test_it_stops_by_itself_with_its_best_weights() -> None:
    splits = digits()
    _, score = classify.train_classifier(splits.train, splits.validation, updates=600)
    assert score.accuracy > 0.9
    assert len(score.curve) == score.updates // fitting.CHECK_EVERY
    small = classify.few_labels(splits.train, 5)  # too few to validate on
    _, score = classify.train_classifier(small, splits.validation, updates=30)
    assert (score.updates, score.curve) == (30, ())


def test_published_classifiers_keep_their_names_and_settings() -> None:
    report = classify.Recipe(2, **CLASSIFIERS["report"])
    assert report.name == "n2-epochs10-rate0.0001-seed0"
    assert (report.epochs, report.batch_size, report.learning_rate) == (10, 128, 1e-4)
    names = {classify.Recipe().name, report.name, classify.Recipe(updates=9).name}
    names |= {classify.Recipe(batch_size=32).name, classify.Recipe(epochs=10).name}
    assert len(names) == 5


def test_neighbours_change_training_and_not_the_generator() -> None:
    splits = digits()
    few = classify.few_labels(splits.train, 5)
    generator = mlp_lae(64, 4, 16, make_likelihood("bernoulli"))
    before = {k: v.clone() for k, v in generator.state_dict().items()}
    _, none = classify.train_classifier(few, splits.validation, epochs=1)
    _, some = classify.train_classifier(
        few, splits.validation, generator=generator, neighbours=2, epochs=1
    )
    assert none.loss != some.loss
    assert all(torch.equal(before[k], v) for k, v in generator.state_dict().items())


def test_balanced_accuracy() -> None:
    class Always(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.tensor([[0.0, -5.0]]).repeat(len(x), 1)

    labels = torch.tensor([0] * 9 + [1])
    images = ImageSet(torch.zeros(10, 1, 4, 4, dtype=torch.uint8), labels, ("a", "b"))
    score = classify.score(Always(), images)  # type: ignore[arg-type]
    assert (score.accuracy, score.balanced_accuracy) == (0.9, 0.5)


def test_thinned_sets() -> None:
    train = digits().train
    assert torch.bincount(classify.few_labels(train, 7).labels).tolist() == [7] * 10
    sizes = torch.bincount(train.labels)
    thinned = torch.bincount(classify.imbalanced(train, 0.01).labels) / sizes
    assert thinned[0] == 1
    assert thinned[-1] == pytest.approx(0.01, abs=0.005)
    assert bool((thinned.diff() < 0).all())


def test_work_of_a_training() -> None:
    assert classify.Recipe(2, updates=10, batch_size=8).work(pytest.fail) == 10 * 8 * 3
    assert classify.Recipe(epochs=3, per_class=4).work(lambda: digits().train) == 3 * 40


def test_kept_classifiers(tmp_path: Path) -> None:
    model = ConvClassifier((1, 8, 8), 3).eval()
    about = {"image_shape": (1, 8, 8), "classes": 3, "score": {"accuracy": 0.5}}
    assert classify.load_classifier(tmp_path, "n0") is None
    assert not classify.is_kept(tmp_path, "n0")
    classify.save_classifier(tmp_path, "n0", model, about)
    assert classify.is_kept(tmp_path, "n0")
    found = classify.load_classifier(tmp_path, "n0")
    assert found is not None
    x = torch.rand(3, 1, 8, 8)
    assert torch.equal(found[0](x), model(x))
    assert found[1]["score"] == {"accuracy": 0.5}
