"""The trainers of the controls against their objectives, differentiated by autograd."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn

from helpers.small_trainers import Frozen, gradients, images, small_model, small_vae
from lae_fast.errors import TrainingError
from lae_fast.ranks import Ranks
from lae_fast.sampling import ald
from lae_fast.train.trainers.base import standard_normal
from lae_fast.train.trainers.controls import FrozenTrainer, VAETrainer

LIKELIHOODS = ["bernoulli", "gaussian", "discretized-logistic"]


def assert_gradients_equal(model: nn.Module, wanted: nn.Module) -> None:
    got, want = gradients(model), gradients(wanted)
    assert got.keys() == want.keys()
    for name in want:
        torch.testing.assert_close(got[name], want[name], rtol=1e-10, atol=1e-9)


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@pytest.mark.parametrize("explicit", [True, False])
def test_a_vae_follows_its_bound(likelihood: str, explicit: bool) -> None:
    model, x = small_vae(likelihood, explicit=explicit), images(torch.float64)
    wanted = copy.deepcopy(model)
    trainer = VAETrainer(model, Frozen(model), ald.make_rng(3))
    assert trainer.description == ("explicit MLP backward" if explicit else "autograd")
    stats = trainer.iteration(x)
    nll, kl = wanted.terms(x, standard_normal((10, 3), x, ald.make_rng(3), 0))
    (nll + kl).sum().backward()
    assert_gradients_equal(model, wanted)
    assert stats.loss == pytest.approx((nll + kl).mean().item(), rel=1e-12)
    assert math.isnan(stats.accept_rate)
    assert trainer.rng.tolist() == [3, 1]


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@pytest.mark.parametrize("prior", [True, False])
def test_a_frozen_phi_follows_the_potential_there(likelihood: str, prior: bool) -> None:
    model, x = small_model(likelihood, torch.float64), images(torch.float64)
    wanted = copy.deepcopy(model)
    stats = FrozenTrainer(model, Frozen(model), prior=prior).iteration(x)
    z = wanted.encode(x)
    value = wanted.likelihood.nll(wanted.decoder(z), x).sum()
    value = value + 0.5 * z.square().sum() if prior else value
    value.backward()
    assert_gradients_equal(model, wanted)
    assert stats.loss == pytest.approx(value.item() / len(x), rel=1e-12)
    assert torch.equal(model.phi, wanted.phi)


def test_what_is_not_finite_touches_nothing() -> None:
    model = small_vae("bernoulli", explicit=True)
    with torch.no_grad():
        model.decoder.last.bias[0] = torch.nan
    before = copy.deepcopy(model.state_dict())
    trainer = VAETrainer(model, torch.optim.Adam(model.parameters(), 1e-3), ald.make_rng(3))
    with pytest.raises(TrainingError, match="potential is not finite"):
        trainer.iteration(images(torch.float64))
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0, equal_nan=True)


def test_noise_is_standard_normal_new_each_time_and_the_same_for_any_number_of_ranks() -> None:
    """Moments of 40,000 draws, bounds of five standard errors: a false alarm in 1e6."""
    rng, like = ald.make_rng(5), torch.zeros(0)
    first = standard_normal((5000, 8), like, rng, 0)
    assert abs(float(first.mean())) < 5 / 200
    assert abs(float(first.var()) - 1) < 5 * math.sqrt(2 / 40_000)
    assert abs(float((first * standard_normal((5000, 8), like, rng, 0)).mean())) < 5 / 200
    for rank in range(3):
        rows = Ranks(rank, 3).share(50)
        part = standard_normal((rows.stop - rows.start, 8), like, ald.make_rng(5), rows.start)
        assert torch.equal(part, first[rows])
