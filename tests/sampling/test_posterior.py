from __future__ import annotations

import math

import pytest
import torch

from helpers.exact_targets import linear_gaussian, worst_z_scores
from lae_fast.sampling.adaptation import DualAveraging
from lae_fast.sampling.diagnostics import effective_sample_size, split_rhat
from lae_fast.sampling.posterior import sample_posterior
from lae_fast.sampling.whitening import Whitened, make_coordinates

THRESHOLD = 4.5
"""At most 60 scores: a false alarm below 4.1e-4 a test."""


@pytest.mark.parametrize(("whiten", "seed"), [(True, 0), (True, 1), (False, 2)])
def test_algorithm_1_gives_the_exact_posterior(whiten: bool, seed: int) -> None:
    target = linear_gaussian(seed)
    chains = sample_posterior(
        target.nll, target.features, 2, draws=3000, warmup=600, chains=2, whiten=whiten, seed=seed
    )
    assert chains.latents.shape == (2, 3000, 3, 2)
    first, second, _ = worst_z_scores(chains.latents, target.mean, target.cov)
    assert first < THRESHOLD
    assert second < THRESHOLD
    assert split_rhat(chains.latents).max() < 1.05
    assert 0.35 < chains.accept_prob < 0.8  # adapted towards 0.574, then frozen


def test_whitening_mixes_where_plain_dynamics_do_not() -> None:
    """Features with a dominant mean direction: the same steps, at least 20 times the ESS."""
    target = linear_gaussian(3, n=4, d_h=6, condition=40.0)
    sizes = {}
    for whiten in (True, False):
        chains = sample_posterior(
            target.nll,
            target.features,
            2,
            draws=2500,
            warmup=500,
            chains=2,
            whiten=whiten,
            damping=1e-6,
        )
        sizes[whiten] = effective_sample_size(chains.latents).min()
        if whiten:
            first, second, _ = worst_z_scores(chains.latents, target.mean, target.cov)
            assert max(first, second) < THRESHOLD
    assert sizes[True] > 20 * sizes[False]


def test_whitened_coordinates_keep_the_latents_and_the_gradient() -> None:
    torch.manual_seed(0)
    h = torch.randn(5, 7, dtype=torch.float64, requires_grad=True)
    phi = torch.randn(2, 7, dtype=torch.float64)
    whitened = Whitened(h.detach(), 0.1)
    u = whitened.to_chain(phi)
    z = h @ phi.T
    torch.testing.assert_close(whitened.features @ u.T, z.detach())
    torch.testing.assert_close(whitened.to_phi(u), phi)
    grad_z = torch.randn_like(z)
    (grad_h,) = torch.autograd.grad(z, h, grad_z)
    torch.testing.assert_close(whitened.pull_back(grad_z @ u), grad_h)


def test_whitening_refuses_features_it_cannot_use() -> None:
    for bad in (torch.zeros(4, 3), torch.full((4, 3), torch.nan)):
        assert bool(make_coordinates(bad, 0.1).check.isnan())
        with pytest.raises(ValueError, match="cannot whiten"):
            sample_posterior(lambda z: z.square().sum(1), bad, 2, draws=10, warmup=10)


def test_adapting_without_warmup_is_refused() -> None:
    target = linear_gaussian(0)
    with pytest.raises(ValueError, match="warm-up"):
        sample_posterior(target.nll, target.features, 2, draws=10)


def test_chains_differ_and_the_seed_decides() -> None:
    target = linear_gaussian(0)

    def run(seed: int) -> torch.Tensor:
        return sample_posterior(
            target.nll, target.features, 2, draws=5, chains=2, step_size=0.05, seed=seed
        ).latents

    assert torch.equal(run(1), run(1))
    assert not torch.equal(run(1), run(2))
    assert not torch.equal(run(1)[0], run(1)[1])


@pytest.mark.parametrize("start", [1e-6, 1.0, 1e3])
def test_dual_averaging_finds_the_target_from_any_start(start: float) -> None:
    """Acceptance exp(-step) is 0.574 at step 0.555."""
    adaptation = DualAveraging(start)
    for _ in range(500):
        adaptation.update(math.exp(-adaptation.step_size))
    assert math.exp(-adaptation.freeze()) == pytest.approx(0.574, abs=0.03)


def test_dual_averaging_respects_its_cap_and_survives_nan() -> None:
    adaptation = DualAveraging(1e-3, cap=2e-3)
    for _ in range(100):
        assert adaptation.update(1.0) <= 2e-3 * (1 + 1e-12)
    for _ in range(100):
        adaptation.update(math.nan)
    assert 0 < adaptation.step_size < 1e-3


def test_diagnostics_tell_a_stuck_chain_from_a_free_one() -> None:
    generator = torch.Generator().manual_seed(0)
    free = torch.randn(4, 500, 3, generator=generator)
    stuck = free * 0.01 + torch.arange(4.0)[:, None, None]
    assert effective_sample_size(free).min() > 1000
    assert split_rhat(free).max() < 1.02
    assert effective_sample_size(stuck).max() < 20
    assert split_rhat(stuck).min() > 1.5
