"""Projected gradient descent: its constraints, its strength, and an independent library."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lae_fast import data
from lae_fast.analysis import classify
from lae_fast.analysis.attack import CONVERGED, PUBLISHED, Attack, attack, attack_images
from lae_fast.data import ImageSet
from lae_fast.models.classifier import ConvClassifier


@pytest.fixture(scope="module")
def splits() -> data.Splits:
    return data.load("digits")


@pytest.fixture(scope="module")
def classifier(splits: data.Splits) -> ConvClassifier:
    return classify.train_classifier(
        splits.train, splits.validation, epochs=10, learning_rate=5e-3
    )[0]


@pytest.mark.parametrize("how", [PUBLISHED, Attack(10, None, True, 2)])
def test_it_stays_in_the_ball_and_hurts(
    how: Attack, classifier: ConvClassifier, splits: data.Splits
) -> None:
    x, labels = classify.as_pictures(splits.validation.images), splits.validation.labels
    found = attack_images(classifier, x, labels, 0.15, how)
    assert (found - x).abs().max() <= 0.15 + 1e-6
    assert found.min() >= 0
    assert found.max() <= 1
    clean, hurt = (F.nll_loss(classifier(images), labels) for images in (x, found))
    assert hurt > 1.5 * clean


def test_a_linear_model_is_attacked_exactly() -> None:
    """There the worst image in the ball is known: every pixel goes the whole way, by its sign."""
    torch.manual_seed(0)
    weight = torch.randn(12)

    class Linear(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            score = x.flatten(1) @ weight
            return torch.stack([torch.zeros_like(score), score], 1)

    x = torch.full((2, 1, 3, 4), 0.5)
    found = attack_images(Linear(), x, torch.tensor([0, 1]), 0.1, CONVERGED)
    signs = weight.sign().view(1, 3, 4)
    assert torch.allclose(found, x + 0.1 * torch.stack([signs, -signs]), atol=1e-6)


def test_restarts_keep_the_worst_of_every_image(
    classifier: ConvClassifier, splits: data.Splits
) -> None:
    some = splits.validation.subset(torch.arange(100))
    (one,) = attack(classifier, some, Attack(5, None, True, 1), epsilons=(0.1,))
    (many,) = attack(classifier, some, Attack(5, None, True, 6), epsilons=(0.1,))
    assert many.accuracy <= one.accuracy


def test_result_is_over_all_images(classifier: ConvClassifier, splits: data.Splits) -> None:
    images = splits.validation
    (nothing,) = attack(classifier, images, Attack(1, 0.0), epsilons=(0.1,))
    clean = classify.score(classifier, images)
    assert nothing.accuracy == pytest.approx(clean.accuracy)
    assert nothing.loss == pytest.approx(clean.loss, rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("epsilon", [0.05, 0.2])
def test_it_agrees_with_an_independent_library(
    epsilon: float, classifier: ConvClassifier, splits: data.Splits
) -> None:
    """Without random starts there is one right answer; with them, accuracies are level."""
    pytest.importorskip("art")
    from art.attacks.evasion import ProjectedGradientDescent
    from art.estimators.classification import PyTorchClassifier

    images: ImageSet = splits.validation
    x, labels = classify.as_pictures(images.images), images.labels
    wrapped = PyTorchClassifier(
        classifier, nn.NLLLoss(), (1, 8, 8), 10, clip_values=(0, 1), device_type="cpu"
    )

    def theirs(steps: int, step_size: float, restarts: int) -> Tensor:
        pgd = ProjectedGradientDescent(
            wrapped,
            norm=np.inf,
            eps=epsilon,
            eps_step=step_size,
            max_iter=steps,
            num_random_init=restarts,
            batch_size=1000,
            verbose=False,
        )
        return torch.from_numpy(pgd.generate(x.numpy(), np.eye(10)[labels.numpy()]))

    ours = attack_images(classifier, x, labels, epsilon, PUBLISHED)
    assert torch.allclose(ours, theirs(40, 0.01, 0), atol=1e-5)

    def accuracy(found: Tensor) -> float:
        return float((classifier(found).argmax(1) == labels).double().mean())

    strong = accuracy(attack_images(classifier, x, labels, epsilon, CONVERGED))
    other = accuracy(theirs(100, 2.5 * epsilon / 100, 5))
    # Two standard errors of a difference of a few disagreeing images among 144.
    assert strong == pytest.approx(other, abs=0.03)
