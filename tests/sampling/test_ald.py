"""The sampler against laws known in closed form.

Scores are standardised errors; a threshold t on k scores gives a false alarm with probability at
most k * 2 * (1 - Phi(t)) for a correct sampler. Seeds are fixed, so a passing test stays passing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from helpers.exact_targets import LinearGaussian, linear_gaussian, worst_z_scores
from lae_fast import ops
from lae_fast.ops import chains_ref
from lae_fast.sampling import ald

THRESHOLD = 4.5
"""Two-sided normal tail 6.8e-6: with at most 30 scores a test, a false alarm below 2.1e-4."""


def as_row(
    potential: Callable[[Tensor], tuple[Tensor, Tensor]], shape: tuple[int, ...]
) -> ald.Potential:
    """A potential of phi for the chain of which phi is the one row."""

    def of_row(row: Tensor) -> tuple[Tensor, Tensor]:
        value, grad = potential(row.view(shape))
        return value.view(1), grad.reshape(1, -1)

    return of_row


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
    potential = as_row(target.potential, phi.shape)
    state = ald.init(phi.view(1, -1), potential, ald.make_rng(seed), step_size)
    draws = torch.empty(1, steps, *target.mean.shape, dtype=torch.float64)
    for t in range(steps):
        ald.step(state, potential, mh=mh)
        draws[0, t] = features @ state.x.view(phi.shape).T
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


def _reverse_mean_at_phi(
    x: Tensor,
    grad: Tensor,
    potential: Tensor,
    proposal: Tensor,
    new_grad: Tensor,
    new_potential: Tensor,
    rng: Tensor,
    accepted: Tensor,
    info: Tensor,
    step_sizes: Tensor,
    temperature: float,
    *rest: Any,
    **outputs: object,
) -> None:
    """The mistake in the code of Bisht 2023: the reverse proposal's mean at phi, not at phi'."""
    right = (x - proposal + step_sizes * new_grad).square() / (4 * step_sizes * temperature)
    wrong = (step_sizes * grad).square() / (4 * step_sizes * temperature)
    before = potential.clone()
    shifted = new_potential + temperature * (wrong - right).sum(1)
    decision = (rng, accepted, info, step_sizes, temperature, *rest)
    chains_ref.ald_step_rows_(x, grad, potential, proposal, new_grad, shifted, *decision)
    potential.copy_(torch.where(accepted, new_potential, before))


def test_a_wrong_reverse_mean_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ops, "step_rows_", _reverse_mean_at_phi)
    target = linear_gaussian(0)
    draws, _ = run_chain(target, 0.04, 6_000, 0)
    first, second, _ = worst_z_scores(draws, target.mean, target.cov)
    assert max(first, second) > 2 * THRESHOLD


def test_reference_and_kernel_run_the_same_chain(monkeypatch: pytest.MonkeyPatch) -> None:
    target = linear_gaussian(5)
    fused, state = run_chain(target, 0.05, 300, 5)
    monkeypatch.setattr(ops, "step_rows_", chains_ref.ald_step_rows_)
    plain, plain_state = run_chain(target, 0.05, 300, 5)
    torch.testing.assert_close(fused, plain, rtol=1e-9, atol=1e-9)
    assert state.info.accepted_sum == plain_state.info.accepted_sum < 300


@pytest.mark.parametrize("seed", range(5))
def test_detailed_balance(seed: int) -> None:
    """p(phi) q(phi'|phi) min(1, a) = p(phi') q(phi|phi') min(1, 1/a), densities written out."""
    target = linear_gaussian(seed)
    eta, tau = 0.07, 1.7
    torch.manual_seed(seed)
    phi = torch.randn(1, 8, dtype=torch.float64)
    other = phi + 0.3 * torch.randn(1, 8, dtype=torch.float64)
    potential = as_row(target.potential, (2, 4))
    value, grad = potential(phi)
    other_value, other_grad = potential(other)

    def log_q(to: Tensor, start: Tensor, start_grad: Tensor) -> Tensor:
        return -(to - start + eta * start_grad).square().sum() / (4 * eta * tau)

    def log_accept(start: Tensor, to: Tensor) -> Tensor:
        """log min(1, a) of the kernel."""
        state = ald.init(start.clone(), potential, ald.make_rng(0), eta, tau)
        state.proposal = to.clone()
        return torch.tensor(ald.step(state, potential).accept_prob, dtype=torch.float64).log()

    there, back = log_accept(phi, other), log_accept(other, phi)
    left = -value / tau + log_q(other, phi, grad) + there
    right = -other_value / tau + log_q(phi, other, other_grad) + back
    torch.testing.assert_close(left.sum(), right.sum(), rtol=1e-11, atol=1e-9)
    assert max(float(there), float(back)) == 0 > min(float(there), float(back))


def gaussian_potential(x: Tensor) -> tuple[Tensor, Tensor]:
    return x.double().square().sum(1) / 2, x.clone()


@pytest.mark.parametrize("step_size", [0.4, 0.2, 0.1])
def test_without_mh_the_bias_is_the_known_one_and_shrinks(step_size: float) -> None:
    """Unadjusted Langevin on N(0, 1) has variance exactly 1 / (1 - eta / 2).

    One score a step size at 4.5 standard errors: false alarm below 2.1e-5 in all three.
    """
    size, steps = 4096, 200
    state = ald.init(
        torch.zeros(1, size, dtype=torch.float64), gaussian_potential, ald.make_rng(7), step_size
    )
    total = torch.zeros(size, dtype=torch.float64)
    burn_in = int(10 / step_size)
    for t in range(burn_in + steps):
        ald.step(state, gaussian_potential, mh=False)
        if t >= burn_in:
            total += state.x[0].square() / steps
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
        torch.zeros(1, size, dtype=torch.float64), gaussian_potential, ald.make_rng(3), 0.3, tau
    )
    draws = torch.empty(1, steps, size, dtype=torch.float64)
    for t in range(steps):
        ald.step(state, gaussian_potential)
        draws[0, t] = state.x
    mean_square = draws[:, 200:].square().mean((0, 1))
    standard_error = float(mean_square.std()) / math.sqrt(size)
    assert abs(float(mean_square.mean()) - tau) < 4.5 * standard_error


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("mh", [True, False])
def test_a_proposal_that_is_not_finite_is_rejected(bad: float, mh: bool) -> None:
    state = ald.init(torch.ones(1, 5), gaussian_potential, ald.make_rng(0), 0.1)
    before = state.x.clone()
    for where in ("value", "grad"):

        def broken(x: Tensor, where: str = where) -> tuple[Tensor, Tensor]:
            value, grad = gaussian_potential(x)
            if where == "grad":
                grad[0, 2] = bad
                return value, grad
            return torch.full_like(value, bad), grad

        info = ald.step(state, broken, mh=mh)
        assert not state.accepted.any()
        assert info.accept_prob == 0
        torch.testing.assert_close(state.x, before, rtol=0, atol=0)


def test_a_start_that_is_not_finite_is_refused() -> None:
    with pytest.raises(ValueError, match="not finite at the chains' start"):
        ald.init(torch.full((1, 3), torch.nan), gaussian_potential, ald.make_rng(0), 0.1)


def test_changing_the_step_size_draws_the_pending_proposal_again() -> None:
    state = ald.init(torch.ones(1, 5), gaussian_potential, ald.make_rng(4), 0.1)
    state.set_step_size(0.3)
    fresh = ald.init(torch.ones(1, 5), gaussian_potential, ald.make_rng(4), 0.3)
    torch.testing.assert_close(state.proposal, fresh.proposal, rtol=0, atol=0)
