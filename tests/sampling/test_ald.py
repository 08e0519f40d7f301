"""The sampler against laws known in closed form.

Scores are standardised errors; a threshold t on k scores gives a false alarm with probability at
most k * 2 * (1 - Phi(t)) for a correct sampler. Seeds are fixed, so a passing test stays passing.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from helpers.exact_targets import LinearGaussian, linear_gaussian, worst_z_scores
from lae_fast import ops
from lae_fast.ops import chains_ref
from lae_fast.sampling import ald

THRESHOLD = 4.5
"""Two-sided normal tail 6.8e-6: with at most 30 scores a test, a false alarm below 2.1e-4."""


def run_chain(
    target: LinearGaussian, step_size: float, steps: int, seed: int, *, mh: bool = True
) -> tuple[Tensor, ald.State]:
    """Latents after every step, (1, steps, n, d_z), started from the posterior itself."""
    features = target.features
    chol = torch.linalg.cholesky(target.cov)
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(target.mean.shape, generator=generator, dtype=torch.float64)
    start = target.mean + noise @ chol.T
    phi = (torch.linalg.pinv(features) @ start).T.contiguous()
    state = ald.init(phi, target.potential, ald.make_rng(seed), step_size)
    draws = torch.empty(1, steps, *target.mean.shape, dtype=torch.float64)
    for t in range(steps):
        ald.step(state, target.potential, mh=mh)
        draws[0, t] = features @ state.phi.T
    return draws, state


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("step_size", [0.01, 0.04])
def test_mh_samples_the_exact_posterior(seed: int, step_size: float) -> None:
    target = linear_gaussian(seed)
    draws, state = run_chain(target, step_size, 12_000, seed)
    first, second, scores = worst_z_scores(draws, target.mean, target.cov)
    assert scores <= 30
    assert state.info.accepted_sum > 1000
    assert first < THRESHOLD
    assert second < THRESHOLD


def _reverse_at_phi(
    phi: Tensor, grad: Tensor, value: Tensor, proposal: Tensor, new_grad: Tensor,
    new_value: Tensor, step_size: float, temperature: float,
) -> Tensor:  # fmt: skip
    """The mistake of published code: the reverse proposal's mean taken at phi, not at phi'."""
    forward = (proposal - phi + step_size * grad).square().sum()
    reverse = (phi - phi + step_size * grad - 0 * new_grad).square().sum()
    ratio = (forward - reverse) / (4 * step_size * temperature)
    return (value - new_value) / temperature + ratio.double()


def test_a_wrong_reverse_mean_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chains_ref, "ald_log_ratio", _reverse_at_phi)
    monkeypatch.setattr(ops, "step_", chains_ref.ald_step_)
    target = linear_gaussian(0)
    draws, _ = run_chain(target, 0.04, 6_000, 0)
    first, second, _ = worst_z_scores(draws, target.mean, target.cov)
    assert max(first, second) > 2 * THRESHOLD


def test_reference_and_kernel_run_the_same_chain(monkeypatch: pytest.MonkeyPatch) -> None:
    target = linear_gaussian(5)
    fused, state = run_chain(target, 0.05, 300, 5)
    monkeypatch.setattr(ops, "step_", chains_ref.ald_step_)
    plain, plain_state = run_chain(target, 0.05, 300, 5)
    torch.testing.assert_close(fused, plain, rtol=1e-9, atol=1e-9)
    assert state.info.accepted_sum == plain_state.info.accepted_sum < 300


@pytest.mark.parametrize("seed", range(5))
def test_detailed_balance(seed: int) -> None:
    """p(phi) q(phi'|phi) min(1, a) = p(phi') q(phi|phi') min(1, 1/a), densities written out."""
    target = linear_gaussian(seed)
    eta, tau = 0.07, 1.7
    torch.manual_seed(seed)
    phi, other = torch.randn(2, 2, 4, dtype=torch.float64).unbind()
    value, grad = target.potential(phi)
    other_value, other_grad = target.potential(other)

    def log_q(to: Tensor, start: Tensor, start_grad: Tensor) -> Tensor:
        return -(to - start + eta * start_grad).square().sum() / (4 * eta * tau)

    there = ops.log_ratio(phi, grad, value, other, other_grad, other_value, eta, tau)
    back = ops.log_ratio(other, other_grad, other_value, phi, grad, value, eta, tau)
    left = -value / tau + log_q(other, phi, grad) + there.clamp(max=0)
    right = -other_value / tau + log_q(phi, other, other_grad) + back.clamp(max=0)
    torch.testing.assert_close(left, right, rtol=1e-11, atol=1e-9)
    torch.testing.assert_close(there, -back, rtol=1e-11, atol=1e-9)


def gaussian_potential(phi: Tensor) -> tuple[Tensor, Tensor]:
    return phi.double().square().sum() / 2, phi.clone()


@pytest.mark.parametrize("step_size", [0.4, 0.2, 0.1])
def test_without_mh_the_bias_is_the_known_one_and_shrinks(step_size: float) -> None:
    """Unadjusted Langevin on N(0, 1) has variance exactly 1 / (1 - eta / 2).

    One score a step size at 4.5 standard errors: false alarm below 2.1e-5 in all three.
    """
    size, steps = 4096, 200
    state = ald.init(
        torch.zeros(size, dtype=torch.float64), gaussian_potential, ald.make_rng(7), step_size
    )
    total = torch.zeros(size, dtype=torch.float64)
    burn_in = int(10 / step_size)
    for t in range(burn_in + steps):
        ald.step(state, gaussian_potential, mh=False)
        if t >= burn_in:
            total += state.phi.square() / steps
    assert state.info.accepted_sum == burn_in + steps
    assert 0 < state.info.accept_prob_sum < 0.9 * (burn_in + steps)  # what MH would have done
    standard_error = float(total.std()) / math.sqrt(size)
    assert abs(float(total.mean()) - 1 / (1 - step_size / 2)) < 4.5 * standard_error
    assert float(total.mean()) - 1 > 4.5 * standard_error


@pytest.mark.parametrize("tau", [0.1, 3.0])
def test_temperature_scales_the_law(tau: float) -> None:
    """exp(-V / tau) of a standard normal V is N(0, tau); one score, false alarm below 7e-6."""
    size, steps = 64, 3000
    state = ald.init(
        torch.zeros(size, dtype=torch.float64), gaussian_potential, ald.make_rng(3), 0.3, tau
    )
    draws = torch.empty(1, steps, size, dtype=torch.float64)
    for t in range(steps):
        ald.step(state, gaussian_potential)
        draws[0, t] = state.phi
    mean_square = draws[:, 200:].square().mean((0, 1))
    standard_error = float(mean_square.std()) / math.sqrt(size)
    assert abs(float(mean_square.mean()) - tau) < 4.5 * standard_error


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("mh", [True, False])
def test_a_proposal_that_is_not_finite_is_rejected(bad: float, mh: bool) -> None:
    state = ald.init(torch.ones(5), gaussian_potential, ald.make_rng(0), 0.1)
    before = state.phi.clone()
    for where in ("value", "grad"):

        def broken(phi: Tensor, where: str = where) -> tuple[Tensor, Tensor]:
            value, grad = gaussian_potential(phi)
            if where == "grad":
                grad[2] = bad
                return value, grad
            return torch.full_like(value, bad), grad

        info = ald.step(state, broken, mh=mh)
        assert not info.accepted
        assert info.log_ratio == -math.inf
        torch.testing.assert_close(state.phi, before, rtol=0, atol=0)


def test_a_start_that_is_not_finite_is_refused() -> None:
    with pytest.raises(ValueError, match="not finite at the chain's start"):
        ald.init(torch.full((3,), torch.nan), gaussian_potential, ald.make_rng(0), 0.1)


def test_changing_the_step_size_draws_the_pending_proposal_again() -> None:
    state = ald.init(torch.ones(5), gaussian_potential, ald.make_rng(4), 0.1)
    state.set_step_size(0.3)
    fresh = ald.init(torch.ones(5), gaussian_potential, ald.make_rng(4), 0.3)
    torch.testing.assert_close(state.proposal, fresh.proposal, rtol=0, atol=0)
