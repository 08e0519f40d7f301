"""Held-out likelihood against a model whose likelihood is known."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from helpers.exact_targets import LinearGaussian, linear_gaussian
from lae_fast.sampling.marginal import (
    GaussianProposal,
    annealed_importance_sampling,
    bidirectional_bounds,
    importance_sampling,
    refine_proposal,
)

TARGETS = [linear_gaussian(seed, n=20, d_z=2, d_x=5, d_h=20) for seed in range(2)]


def proposal_for(target: LinearGaussian) -> GaussianProposal:
    return refine_proposal(target.nll, torch.zeros(20, 2, dtype=torch.float64))


@pytest.mark.parametrize("target", TARGETS)
def test_a_refined_proposal_is_the_best_diagonal_gaussian(target: LinearGaussian) -> None:
    """For a Gaussian posterior: its mean, and one over the root of its precision's diagonal."""
    start = torch.zeros(20, 2, dtype=torch.float64)
    proposal = refine_proposal(target.nll, start, steps=2000, learning_rate=0.02)
    std = torch.linalg.inv(target.cov).diagonal().rsqrt()
    torch.testing.assert_close(proposal.mean, target.mean, atol=0.05, rtol=0)
    torch.testing.assert_close(proposal.std, std.expand(20, 2), atol=0, rtol=0.1)


@pytest.mark.parametrize("target", TARGETS)
def test_importance_sampling_finds_the_known_likelihood(target: LinearGaussian) -> None:
    """Errors of 20 images, each about exp(2 sd) effective of 2000: far below 0.1 nats."""
    result = importance_sampling(target.nll, proposal_for(target), samples=2000)
    torch.testing.assert_close(result.nll, -target.log_evidence, atol=0.1, rtol=0)
    assert result.mean == pytest.approx(float(-target.log_evidence.mean()), abs=0.02)
    assert result.standard_error == pytest.approx(
        float(target.log_evidence.std()) / math.sqrt(20), rel=0.1
    )
    assert bool((result.effective > 0.3).all())


def test_a_poor_proposal_is_pessimistic_and_says_so() -> None:
    target = TARGETS[0]
    poor = GaussianProposal(target.mean + 3, torch.full((20, 2), 0.2, dtype=torch.float64))
    result = importance_sampling(target.nll, poor, samples=500)
    assert result.mean > float(-target.log_evidence.mean()) + 1
    assert float(result.effective.mean()) < 0.1


@pytest.mark.parametrize("target", TARGETS)
def test_annealed_importance_sampling_finds_the_known_likelihood(target: LinearGaussian) -> None:
    result = annealed_importance_sampling(
        target.nll, (20, 2), temperatures=300, chains=8, dtype=torch.float64
    )
    torch.testing.assert_close(result.nll, -target.log_evidence, atol=0.6, rtol=0)
    assert result.mean == pytest.approx(float(-target.log_evidence.mean()), abs=0.08)


def test_few_temperatures_are_pessimistic() -> None:
    """The estimate is a lower bound of log p(x) in expectation, and tightens."""
    target = linear_gaussian(5, n=20, d_z=2, d_x=8, d_h=20, scale=0.1)
    truth = float(-target.log_evidence.mean())
    gaps = [
        annealed_importance_sampling(
            target.nll, (20, 2), temperatures=count, chains=1, dtype=torch.float64
        ).mean
        - truth
        for count in (3, 1000)
    ]
    assert gaps[0] > 5 > 1 > abs(gaps[1])


class TestBothSides:
    """The truth lies between AIS from the prior and AIS back from the latents drawn."""

    def bounds(self, temperatures: int, chains: int = 4) -> tuple[float, float]:
        target = linear_gaussian(7, n=100, d_z=3, d_x=6, d_h=20, scale=0.2)
        generator = torch.Generator().manual_seed(0)
        z = torch.randn(100, 3, generator=generator, dtype=torch.float64)
        noise = torch.randn(100, 6, generator=generator, dtype=torch.float64)
        drawn = replace(target, x=z @ target.weight.T + target.scale * noise)
        found = bidirectional_bounds(drawn.nll, z, temperatures=temperatures, chains=chains, seed=1)
        truth = float(-drawn.log_evidence.mean())
        return float(found.lower.mean()) - truth, float(found.upper.mean()) - truth

    def test_few_temperatures_leave_a_gap_around_the_truth(self) -> None:
        """The standard error of each mean is below 0.1; a false alarm is beyond ten of them."""
        below, above = self.bounds(8, chains=1)
        assert below < -1 < 1 < above

    def test_many_close_it(self) -> None:
        below, above = self.bounds(300)
        assert -0.6 < below < 0 < above < 0.6
        assert above - below < 0.9
