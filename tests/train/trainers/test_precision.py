"""Drift in bfloat16: the accept test's potential is exact, and so is the law that is sampled."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from helpers.exact_targets import linear_gaussian, worst_z_scores
from helpers.small_trainers import images, small_model
from lae_fast.config import ConfigError, TrainConfig
from lae_fast.models.build import build_model
from lae_fast.models.likelihoods import Bernoulli
from lae_fast.sampling import ald
from lae_fast.train.trainers.build import build_trainer
from lae_fast.train.trainers.passes import ExplicitEvaluator, make_evaluator
from lae_fast.train.trainers.precision import DRIFT_PRODUCTS, bf16_mm

SHAPE = (1, 4, 4)


def test_potential_is_that_of_float32_and_the_drift_is_not() -> None:
    model, x = small_model("bernoulli", torch.float32), images(torch.float32)
    z = torch.randn(len(x), 3)
    plain, rounded = (
        ExplicitEvaluator(copy.deepcopy(model.decoder), model.likelihood, p).evaluate(x, z)
        for p in ("float32", "bf16")
    )
    assert torch.equal(plain.values, rounded.values)
    error = float((plain.grad_z - rounded.grad_z).norm() / plain.grad_z.norm())
    assert 1e-6 < error < 0.05


def sample(mh: bool, drift_error: float) -> tuple[float, float]:
    """Worst z-scores of the chain's moments against the posterior in closed form."""
    target = linear_gaussian(4, n=2, d_z=2, d_x=3)
    weight = target.weight

    def product(a: Tensor, b: Tensor) -> Tensor:
        if drift_error:  # a caricature of rounding, and still a function of the state alone
            return a @ b * (1 + drift_error * torch.sign(torch.sin(40 * a.sum(1, keepdim=True))))
        return bf16_mm(a, b, out=torch.empty(len(a), b.shape[1], dtype=a.dtype))

    def potential(z: Tensor) -> tuple[Tensor, Tensor]:
        x = target.x.repeat(len(z) // 2, 1)
        difference = z @ weight.T - x
        value = difference.square().sum(1) / (2 * target.scale**2) + z.square().sum(1) / 2
        return value, product(difference / target.scale**2, weight) + z

    chains, draws = 64, 4000
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(2 * chains, 2, generator=generator, dtype=torch.float64)
    sizes = torch.full((2,), 0.12, dtype=torch.float64)
    state = ald.init(z, potential, ald.make_rng(1), sizes)
    kept = torch.empty(chains, draws, 2, 2, dtype=torch.float64)
    for draw in range(-200, draws):
        ald.step(state, potential, mh=mh)
        if draw >= 0:
            kept[:, draw] = state.x.view(chains, 2, 2)
    first, second, _ = worst_z_scores(kept, target.mean, target.cov)
    return first, second


@pytest.mark.slow
def test_metropolis_hastings_with_an_approximate_drift_samples_the_exact_law() -> None:
    """Ten scores below 4.5: a correct sampler fails one seed in 1.5e4.

    A drift that is off by half shows that the chain without the accept test is wrong, and that
    this test could tell.
    """
    for drift_error in (0.0, 0.5):
        assert max(sample(True, drift_error)) < 4.5
    assert max(sample(False, 0.5)) > 10


def test_precision_reaches_the_trainer_or_is_refused() -> None:
    config = TrainConfig(precision="bf16", hidden=8)
    trainer = build_trainer(config, build_model(config, SHAPE), 0.1)
    assert "drift in bf16" in trainer.description
    assert trainer.iteration(torch.rand(6, 16)).accept_prob > 0
    model = build_model(config, SHAPE)
    model.decoder = nn.Sequential(nn.Linear(config.latent_dim, 16))
    with pytest.raises(ConfigError, match="precision bf16 needs a fully connected decoder"):
        build_trainer(config, model, 0.1)
    assert make_evaluator(model.decoder, Bernoulli()).description == "autograd"


def test_tf32_is_switched_on_for_the_product_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", False)
    product, allowed = torch.mm, []

    def noting(a: Tensor, b: Tensor, *, out: Tensor) -> Tensor:
        allowed.append(torch.backends.cuda.matmul.allow_tf32)
        return product(a, b, out=out)

    monkeypatch.setattr(torch, "mm", noting)
    a, b = torch.rand(3, 4), torch.rand(4, 2)
    torch.testing.assert_close(DRIFT_PRODUCTS["tf32"](a, b, out=torch.empty(3, 2)), a @ b)
    assert allowed == [True]
    assert not torch.backends.cuda.matmul.allow_tf32


@pytest.mark.parametrize("model", ["vae", "frozen"])
@pytest.mark.parametrize("architecture", ["mlp", "conv"])
def test_without_a_chain_there_is_no_drift_to_round(model: str, architecture: str) -> None:
    config = TrainConfig(model=model, architecture=architecture, hidden=16, precision="bf16")
    trainer = build_trainer(config, build_model(config, (1, 8, 8)), 0.1)
    assert "bf16" not in trainer.description
