"""The trainers of the controls against their objectives, differentiated by autograd."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor, nn

from helpers.small_trainers import Frozen, gradients, images, small_model, small_vae
from lae_fast.errors import TrainingError
from lae_fast.models.vae import VAE
from lae_fast.ranks import Ranks
from lae_fast.sampling import ald
from lae_fast.train.trainers.base import standard_normal
from lae_fast.train.trainers.controls import FrozenTrainer, IWAETrainer, VAETrainer

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


SAMPLES = 4


def log_weights(model: VAE, x: Tensor, code: Tensor, noise: Tensor, kl_weight: float) -> Tensor:
    """``log p(x | z) + kl_weight (log p(z) - log q(z | x))`` of each draw, ``(K, n)``.

    ``noise`` is ``(n, K, d)``. The law q whose density counts has constant parameters, so that
    gradients take the path through z alone.
    """
    mean, std = code.chunk(2, 1)[0], code.chunk(2, 1)[1].exp()
    q = torch.distributions.Normal(mean.detach(), std.detach())
    prior = torch.distributions.Normal(torch.zeros(()), torch.ones(()))
    logs = []
    for eps in noise.unbind(1):
        z = mean + std * eps
        logs.append(kl_weight * (prior.log_prob(z) - q.log_prob(z)).sum(1) - model.nll(x, z))
    return torch.stack(logs)


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@pytest.mark.parametrize("explicit", [True, False])
@pytest.mark.parametrize("kl_weight", [1.0, 0.3])
def test_an_iwae_follows_its_bound(likelihood: str, explicit: bool, kl_weight: float) -> None:
    """The decoder the bound, the encoder its doubly reparametrised gradient."""
    model, x = small_vae(likelihood, explicit=explicit), images(torch.float64)
    wanted = copy.deepcopy(model)
    trainer = IWAETrainer(model, Frozen(model), ald.make_rng(3), SAMPLES)
    trainer.kl_weight = kl_weight
    stats = trainer.iteration(x)
    noise = standard_normal((10, SAMPLES * 3), x, ald.make_rng(3), 0).view(10, SAMPLES, 3)
    code = wanted.encoder(x)
    logs = log_weights(wanted, x, code, noise, kl_weight)
    decoder = [*wanted.decoder.parameters(), *wanted.likelihood.parameters()]
    (-torch.logsumexp(logs, 0).sum()).backward(inputs=decoder, retain_graph=True)
    share = torch.softmax(logs, 0).detach()
    twice = (1 - kl_weight) * share + kl_weight * share.square()
    (-(twice * logs).sum()).backward(inputs=list(wanted.encoder.parameters()))
    assert_gradients_equal(model, wanted)
    bound = torch.logsumexp(log_weights(wanted, x, code, noise, 1.0), 0) - math.log(SAMPLES)
    assert stats.loss == pytest.approx(-bound.mean().item(), rel=1e-12)


@pytest.mark.parametrize("kl_weight", [1.0, 0.3])
def test_the_gradient_of_an_iwaes_encoder_has_no_bias(kl_weight: float) -> None:
    """Against the reparametrised gradient of the bound, both over the same 20,000 draws.

    Bounds of five standard errors of the paired difference, six figures each: a false alarm in 1e5.
    """
    model, x = small_vae("bernoulli", explicit=True), images(torch.float64, 1).repeat(20_000, 1)
    trainer = IWAETrainer(model, Frozen(model), ald.make_rng(3), SAMPLES)
    trainer.kl_weight = kl_weight
    got: list[Tensor] = []
    trainer.encoder.backward = got.append  # type: ignore[method-assign]
    trainer.iteration(x)
    noise = standard_normal((len(x), SAMPLES * 3), x, ald.make_rng(3), 0).view(-1, SAMPLES, 3)
    code = model.encoder(x).detach().requires_grad_()
    logs = log_weights(model, x, code, noise, kl_weight)
    q = torch.distributions.Normal(code[:, :3], code[:, 3:].exp())
    fixed = torch.distributions.Normal(q.mean.detach(), q.stddev.detach())
    draws = (q.mean.unsqueeze(1) + q.stddev.unsqueeze(1) * noise).detach()
    # What `log_weights` leaves out, the density's dependence on q at a fixed z; its value is 0.
    score = [(q.log_prob(z) - fixed.log_prob(z)).sum(1) for z in draws.unbind(1)]
    logs = logs - kl_weight * torch.stack(score)
    (want,) = torch.autograd.grad(-torch.logsumexp(logs, 0).sum(), code)
    difference = got[0] - want
    error = difference.std(0) / math.sqrt(len(x))
    assert bool((difference.mean(0).abs() < 5 * error).all())
    assert bool((got[0].var(0) < want.var(0)).any())


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
