from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from lae_fast.models.lae import mlp_lae
from lae_fast.models.likelihoods import (
    LEVELS,
    Bernoulli,
    DiscretizedLogistic,
    Gaussian,
    Likelihood,
    make_likelihood,
)
from lae_fast.models.mlp import MLP

LIKELIHOODS = {
    "bernoulli": lambda: Bernoulli(),
    "gaussian-fixed": lambda: Gaussian(0.3),
    "gaussian-learned": lambda: Gaussian(None),
    "logistic-fixed": lambda: DiscretizedLogistic(0.05),
    "logistic-learned": lambda: DiscretizedLogistic(None),
}


def images(n: int, d: int, dtype: torch.dtype = torch.float64) -> Tensor:
    x = torch.randint(0, LEVELS, (n, d)).to(dtype) / (LEVELS - 1)
    x[:, : d // 4] = 0.0  # black and white have bins of their own
    x[:, d // 4 : d // 2] = 1.0
    return x


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("d_out", [5, None])
def test_explicit_mlp_backward_equals_autograd(d_out: int | None) -> None:
    mlp = MLP(4, 16, d_out).double()
    for p in mlp.parameters():  # LayerNorm's ones and zeros would hide mistakes
        p.data += 0.1 * torch.randn_like(p)
    saved = mlp.new_saved(7)
    for _ in range(2):  # the second pass finds the first one's buffers
        x = torch.randn(7, 4, dtype=torch.float64, requires_grad=True)
        expected = mlp(x)
        grad = torch.randn_like(expected)
        wanted = torch.autograd.grad(expected, [x, *mlp.parameters()], grad)
        mlp.zero_grad()
        mlp.forward_saved(x.detach(), saved)
        output = saved.features if mlp.last is None else saved.output + mlp.last.bias
        torch.testing.assert_close(output, expected, rtol=1e-12, atol=1e-12)
        (saved.blocks[-1].grad_norm if mlp.last is None else saved.output).copy_(grad)
        mlp.backward_data(saved)
        mlp.add_weight_grads(saved, 0.5)
        mlp.add_weight_grads(saved, 1.5)
        torch.testing.assert_close(mlp.grad_input(saved), wanted[0], rtol=1e-10, atol=1e-12)
        for parameter, want in zip(mlp.parameters(), wanted[1:], strict=True):
            torch.testing.assert_close(parameter.grad, 2 * want, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_likelihood_gradients_equal_autograd(name: str) -> None:
    likelihood: Likelihood = LIKELIHOODS[name]().double()
    x = images(6, 40)
    output = torch.randn(6, 40, dtype=torch.float64, requires_grad=True)
    values = likelihood.nll(output, x)
    parameters = list(likelihood.parameters())
    want, *want_params = torch.autograd.grad(values.sum(), [output, *parameters])
    bias = torch.randn(40, dtype=torch.float64)
    got = output.detach() - bias
    got_values, by_scale = likelihood.fused_grad_(got, bias, x)
    likelihood.add_scale_grad(by_scale, 2.0)
    torch.testing.assert_close(got_values, values.detach(), rtol=1e-12, atol=0)
    torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-10)
    for parameter, want_param in zip(parameters, want_params, strict=True):
        torch.testing.assert_close(parameter.grad, 2 * want_param, rtol=1e-10, atol=1e-10)


def test_bernoulli_is_the_binary_cross_entropy() -> None:
    x, logits = images(5, 20), torch.randn(5, 20, dtype=torch.float64)
    p = torch.sigmoid(logits)
    expected = -(x * p.log() + (1 - x) * (1 - p).log()).sum(1)
    torch.testing.assert_close(Bernoulli().nll(logits, x), expected)


def test_gaussian_is_a_normal_density() -> None:
    x, mean = images(5, 20), torch.randn(5, 20, dtype=torch.float64)
    expected = -torch.distributions.Normal(mean, 0.3).log_prob(x).sum(1)
    torch.testing.assert_close(Gaussian(0.3).double().nll(mean, x), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("location", [-0.4, 0.0, 0.31, 1.0, 1.7])
@pytest.mark.parametrize("scale", [0.003, 0.05, 0.5])
def test_discretized_logistic_sums_to_one(location: float, scale: float) -> None:
    levels = torch.arange(LEVELS, dtype=torch.float64)[:, None] / (LEVELS - 1)
    output = torch.full_like(levels, location)
    mass = torch.exp(-DiscretizedLogistic(scale).double().nll(output, levels))
    assert float(mass.sum()) == pytest.approx(1.0, abs=1e-9)


def test_discretized_logistic_is_finite_far_from_the_data() -> None:
    x = images(2, 40, torch.float32)
    grad = torch.full_like(x, 1e4)
    values, by_scale = DiscretizedLogistic(0.01).fused_grad_(grad, torch.zeros(40), x)
    assert bool(torch.isfinite(by_scale).all())
    assert bool(torch.isfinite(values).all())
    assert bool(torch.isfinite(grad).all())


def test_unknown_likelihood_is_refused() -> None:
    with pytest.raises(KeyError):
        make_likelihood("poisson")


def test_lae_phi_is_saved_and_never_optimised() -> None:
    model = mlp_lae(12, 3, 16, Bernoulli())
    assert "phi" in model.state_dict()
    assert all(p is not model.phi for p in model.parameters())
    assert model.encode(torch.rand(5, 12)).shape == (5, 3)
    decoded = model.decode(torch.randn(5, 3))
    assert decoded.shape == (5, 12)
    assert float(decoded.min()) >= 0
    assert float(decoded.max()) <= 1


def test_published_initialisation_is_orthogonal_with_zero_biases() -> None:
    layers = [layer for layer in MLP(30, 16, 30).modules() if isinstance(layer, nn.Linear)]
    assert len(layers) > 1
    for layer in layers:
        w = layer.weight if layer.weight.shape[0] <= layer.weight.shape[1] else layer.weight.T
        torch.testing.assert_close(w @ w.T, torch.eye(len(w)), atol=1e-5, rtol=0)
        assert not layer.bias.any()


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_draws_follow_the_density(name: str) -> None:
    """The mean of -log p(x) over draws is the entropy: with 4,000 draws, beyond five s.e. is red.

    A Bernoulli's and a Gaussian's entropy are known; a discretised logistic's is summed over its
    levels. A wrong scale, mean or rounding moves it.
    """
    likelihood = LIKELIHOODS[name]()
    output = torch.linspace(-1, 2, 7, dtype=torch.float64)
    if isinstance(likelihood, DiscretizedLogistic):
        levels = torch.arange(LEVELS, dtype=torch.float64) / (LEVELS - 1)
        nll = torch.stack([likelihood.nll(output[:, None], level.expand(7, 1)) for level in levels])
        entropy = (nll.exp().reciprocal() * nll).sum()
    elif isinstance(likelihood, Gaussian):
        entropy = torch.distributions.Normal(output, likelihood.log_scale.exp()).entropy().sum()
    else:
        entropy = torch.distributions.Bernoulli(logits=output).entropy().sum()
    many = output.expand(4000, 7)
    x = likelihood.draw(many, torch.Generator().manual_seed(0))
    values = likelihood.nll(many, x).detach()
    error = float(values.std()) / math.sqrt(len(values))
    assert float(values.mean()) == pytest.approx(float(entropy), abs=5 * error)
