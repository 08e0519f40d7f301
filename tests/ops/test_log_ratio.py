"""`log_ratio` against its reference, against the textbook form, and on what is not finite."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given

from helpers.ops_cases import (
    DTYPES,
    SIZES,
    Case,
    dtypes,
    layouts,
    make_case,
    rng_of,
    scalar,
    seeds,
    shapes,
    step_sizes,
    temperatures,
)
from lae_fast import ops
from lae_fast.ops import chains_ref


def magnitude(case: Case, step_size: float, temperature: float) -> float:
    """Sum of the absolute terms: what rounding in a sum is measured by."""
    p0, g0, p1, g1 = (t.double() for t in (case.phi, case.grad, case.proposal, case.grad_proposal))
    terms = ((p1 - p0) * (g0 + g1)).abs() + step_size / 2 * ((g1 - g0) * (g0 + g1)).abs()
    return float(terms.sum()) / (2 * temperature) + 10 / temperature


def check(case: Case, step_size: float, temperature: float) -> None:
    got = ops.log_ratio(*case.evaluated(), step_size, temperature)
    wanted = chains_ref.ald_log_ratio(*case.evaluated(), step_size, temperature)
    assert got.shape == ()
    assert got.dtype == torch.float64
    # Both accumulate in float64, so float32 inputs are allowed no larger an error.
    assert abs(float(got - wanted)) <= 1e-14 * magnitude(case, step_size, temperature)


@given(
    shape=shapes,
    dtype=dtypes,
    layout=layouts,
    seed=seeds,
    step_size=step_sizes,
    temperature=temperatures,
)
def test_agrees_with_the_reference(
    device: str, shape, dtype, layout, seed, step_size, temperature
) -> None:
    case = make_case(shape, dtype, device=device, layout=layout, seed=seed)
    check(case, step_size, temperature)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", SIZES)
def test_agrees_around_every_block_and_chunk(device: str, size: int, dtype: torch.dtype) -> None:
    check(make_case((size,), dtype, device=device, seed=size), 1e-2, 0.7)


@given(step_size=step_sizes, temperature=temperatures, seed=seeds)
def test_is_the_textbook_ratio(step_size: float, temperature: float, seed: int) -> None:
    """(V - V') / tau - ||phi - phi' + eta g'||^2 / (4 eta tau) + ||eps||^2 / 2, in float64."""
    case = make_case((40, 25), torch.float64, seed=seed)
    case.proposal, noise_sq = ops.propose(case.phi, case.grad, case.rng, step_size, temperature)
    reverse = case.phi - case.proposal + step_size * case.grad_proposal
    textbook = (
        (case.potential - case.potential_proposal) / temperature
        - reverse.square().sum() / (4 * step_size * temperature)
        + noise_sq / 2
    )
    got = ops.log_ratio(*case.evaluated(), step_size, temperature)
    # The textbook form subtracts squares of this size, from values rounded at ulp(phi).
    scale = float(noise_sq) + 1000 * 4 / math.sqrt(2 * step_size * temperature)
    assert abs(float(got - textbook)) <= 1e-14 * (scale + magnitude(case, step_size, temperature))


def test_ten_million_entries(device: str) -> None:
    """Error at most twice plain PyTorch's, both against float64; and next to float64's own."""
    n, step_size = 10_000_000, 1e-3
    generator = torch.Generator().manual_seed(12)

    def draw(scale: float) -> torch.Tensor:
        return scale * torch.randn(n, generator=generator)

    phi, grad = draw(1.0), draw(1.0)
    proposal, grad_proposal = phi + draw(0.04), grad + draw(0.04)
    case = Case(
        phi.to(device),
        grad.to(device),
        scalar(1e6, device),
        proposal.to(device),
        grad_proposal.to(device),
        scalar(1e6 + 1, device),
        rng_of(0, 0, device),
        torch.zeros(4, dtype=torch.float64, device=device),
    )
    exact = float(chains_ref.ald_log_ratio(*case.evaluated(), step_size))
    both = case.grad + case.grad_proposal
    work = ((case.proposal - case.phi) * both).sum()
    grad_change = ((case.grad_proposal - case.grad) * both).sum()
    plain = -1 + float(work) / 2 - step_size * float(grad_change) / 4
    error = abs(float(ops.log_ratio(*case.evaluated(), step_size)) - exact)
    assert error <= 2 * abs(plain - exact)
    assert error <= 1e-7


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("size", [1, 2, 21, 20_000])
def test_what_is_not_finite_is_minus_infinity(
    device: str, size: int, value: float, dtype: torch.dtype
) -> None:
    for name in ("proposal", "grad_proposal"):
        for index in {0, size // 2, size - 1}:
            case = make_case((size,), dtype, device=device)
            getattr(case, name)[index] = value
            assert float(ops.log_ratio(*case.evaluated(), 0.1)) == -math.inf
    case = make_case((size,), dtype, device=device)
    case.potential_proposal.fill_(value)
    assert float(ops.log_ratio(*case.evaluated(), 0.1)) == -math.inf
    case = make_case((size,), dtype, device=device)
    case.grad[size - 1] = math.nan
    assert float(ops.log_ratio(*case.evaluated(), 0.1)) == -math.inf


def test_a_state_of_infinite_potential_is_left_for_any_finite_one(device: str) -> None:
    case = make_case((5,), torch.float32, device=device)
    case.potential.fill_(math.inf)
    assert float(ops.log_ratio(*case.evaluated(), 0.1)) == math.inf


def test_of_no_elements_only_the_potentials_count(device: str) -> None:
    case = make_case((0, 4), torch.float32, device=device)
    assert float(ops.log_ratio(*case.evaluated(), 0.1, 0.5)) == pytest.approx(-0.4)
