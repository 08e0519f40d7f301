"""The trainer whose chains start at draws from the encoder's Gaussian, against its formulas."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor

from helpers import small_trainers
from helpers.small_trainers import (
    CASES,
    IMAGE_STEP_SIZES,
    STEPS,
    Frozen,
    gradients,
    images,
    step_by_formula,
)
from lae_fast.config import TrainConfig
from lae_fast.errors import ConfigError
from lae_fast.models.lae import LAE
from lae_fast.ops import chains_ref
from lae_fast.sampling import ald
from lae_fast.sampling.whitening import RidgeMap
from lae_fast.train.trainers.lae import LAETrainer
from lae_fast.train.trainers.passes import AutogradEvaluator, ExplicitEvaluator

DAMPING = 10.0


def small_model(likelihood: str, scale: float | None = None) -> LAE:
    return small_trainers.small_model(likelihood, torch.float64, scale, gaussian_start=True)


def written_out(
    model: LAE, x: Tensor, rng: Tensor, step_size: float, kl_weight: float, prior: float
) -> tuple[Tensor, float]:
    """Gradients by autograd: the encoder's of the bound at the start, the decoder's of the chain.

    Returns the new phi and the mean potential.
    """
    noise = chains_ref.normal((len(x), 3), rng, x.dtype)
    rng[1] += 1
    features = model.encoder(x)
    mean, log_std = features @ model.phi.T, model.spread(features)
    start = mean + log_std.exp() * noise
    kl = (0.5 * (mean**2 + torch.exp(2 * log_std) - 1) - log_std).sum()
    bound = model.nll(x, start).sum() + kl_weight * kl
    encoder = [*model.encoder.parameters(), *model.spread.parameters()]
    for p, grad in zip(encoder, torch.autograd.grad(bound, encoder), strict=True):
        p.grad = grad

    mean, std = mean.detach(), log_std.detach().exp()

    def at(u: Tensor) -> tuple[Tensor, Tensor]:
        u = u.detach().requires_grad_()
        z = mean + std * u
        value = model.nll(x, z).double() + prior * z.square().sum(1) / 2
        return value.detach(), torch.autograd.grad(value.sum(), u)[0]

    u, total = noise, torch.zeros((), dtype=torch.float64)
    for _ in range(STEPS):
        u, _ = step_by_formula(at, u, rng, step_size)
        z = mean + std * u
        total = total + (model.nll(x, z).double() + prior * z.square().sum(1) / 2).sum() / STEPS
    decoder = [*model.decoder.parameters(), *model.likelihood.parameters()]
    for p, grad in zip(decoder, torch.autograd.grad(total, decoder), strict=True):
        p.grad = grad
    ridge = RidgeMap(features.detach(), DAMPING)
    return model.phi + ridge(z - start.detach()), float(total.detach())


@pytest.mark.parametrize(("likelihood", "scale", "step_size"), CASES)
@pytest.mark.parametrize(("kl_weight", "prior"), [(1.0, True), (0.3, True), (0.0, False)])
@pytest.mark.parametrize("evaluator", [ExplicitEvaluator, AutogradEvaluator])
def test_gradients_equal_autograd_of_the_written_out_objectives(
    likelihood: str,
    scale: float | None,
    step_size: float,
    kl_weight: float,
    prior: bool,
    evaluator: type[ExplicitEvaluator] | type[AutogradEvaluator],
) -> None:
    """float64, 1e-10 relative to the largest gradient entry."""
    model, x = small_model(likelihood, scale), images(torch.float64)
    plain, rng, eta = copy.deepcopy(model), ald.make_rng(3), IMAGE_STEP_SIZES[step_size]
    phi, potential = written_out(plain, x, rng, eta, kl_weight, float(prior))
    trainer = LAETrainer(
        model,
        Frozen(model),
        ald.make_rng(3),
        STEPS,
        eta,
        DAMPING,
        prior=prior,
        evaluator=evaluator(model.decoder, model.likelihood),
    )
    trainer.kl_weight = kl_weight
    stats = trainer.iteration(x)
    assert 0.2 < stats.accept_rate < 1
    assert stats.loss * len(x) == pytest.approx(potential, rel=1e-12)
    torch.testing.assert_close(model.phi, phi, rtol=1e-10, atol=1e-11)
    assert torch.equal(trainer.rng, rng)
    want, got = gradients(plain), gradients(model)
    assert got.keys() == want.keys()
    assert "spread.weight" in got
    for name in want:
        bound = 1e-10 * float(want[name].abs().max()) + 1e-300
        assert float((got[name] - want[name]).abs().max()) <= bound, name


def test_terms_are_the_negative_evidence_lower_bound() -> None:
    """Against log densities: the mean over draws, within five standard errors (one in 1e6)."""
    model, x = small_model("bernoulli"), images(torch.float64, 1)
    mean, std = model.law(x)
    q = torch.distributions.Normal(mean, std)
    noise = torch.randn(20_000, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    z = mean + std * noise
    prior = torch.distributions.Normal(torch.zeros(3), torch.ones(3))
    bounds = model.nll(x.expand(len(z), -1), z) + (q.log_prob(z) - prior.log_prob(z)).sum(1)
    nll, kl = model.terms(x.expand(len(z), -1), noise)
    difference = (nll + kl - bounds).detach()
    error = float(difference.std()) / math.sqrt(len(z))
    assert abs(float(difference.mean())) < 5 * error
    assert model.own_entropy == 0


def test_a_batch_cannot_decide_on_chains_from_a_gaussian() -> None:
    model = small_model("bernoulli")
    with pytest.raises(ValueError, match="per image"):
        LAETrainer(model, Frozen(model), ald.make_rng(0), 2, 0.1, 0.1, accept="batch")
    with pytest.raises(ConfigError, match="accept = image"):
        TrainConfig(start="gaussian", accept="batch")
    with pytest.raises(ConfigError, match="drop --encoder-gradient"):
        TrainConfig(start="gaussian", encoder_gradient="start")
