"""The log ratio that decides a step: its reference, the textbook form, and what is not finite.

`step_rows_` reports min(1, exp(log ratio)). For one row whose potential is moved until the ratio is
near -1, that is the ratio itself, to the last digits.
"""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given

from helpers.ops_cases import (
    DTYPES,
    SIZES,
    Rows,
    dtypes,
    layouts,
    make_rows,
    seeds,
    step_sizes,
    temperatures,
)
from lae_fast import ops
from lae_fast.ops import chains_ref


def probability(rows: Rows, temperature: float = 1.0) -> float:
    """min(1, exp(log ratio)) of the only row."""
    after = rows.clone()
    ops.step_rows_(*after.tensors(), temperature)
    return float(after.info[0])


def log_ratio(rows: Rows, temperature: float = 1.0) -> float:
    """Of the only row; finite."""
    wanted = float(chains_ref.log_ratios(*rows.evaluated(), rows.step_sizes, temperature))
    moved = rows.clone()
    moved.potential_proposal += (wanted + 1) * temperature
    change = float(moved.potential_proposal - rows.potential_proposal) / temperature
    return math.log(probability(moved, temperature)) + change


def magnitude(rows: Rows, temperature: float) -> float:
    """Sum of the absolute terms: what rounding in a sum is measured by."""
    p0, g0, p1, g1 = (t.double() for t in (rows.x, rows.grad, rows.proposal, rows.grad_proposal))
    work, change = (p1 - p0) * (g0 + g1), rows.step_sizes / 2 * (g1 - g0) * (g0 + g1)
    return float((work.abs() + change.abs()).sum()) / (2 * temperature) + 10 / temperature + 1


def check(rows: Rows, temperature: float) -> None:
    wanted = float(chains_ref.log_ratios(*rows.evaluated(), rows.step_sizes, temperature))
    # Both accumulate in float64, so float32 inputs are allowed no larger an error.
    assert abs(log_ratio(rows, temperature) - wanted) <= 1e-14 * magnitude(rows, temperature)


def one_row(size: int, dtype: torch.dtype, device: str, **others: object) -> Rows:
    return make_rows((1, size), dtype, device=device, **others)  # type: ignore[arg-type]


@given(dtype=dtypes, layout=layouts, seed=seeds, step_size=step_sizes, temperature=temperatures)
@pytest.mark.parametrize("one_step_size", [False, True])
def test_agrees_with_the_reference(
    device: str, one_step_size: bool, dtype, layout, seed, step_size, temperature
) -> None:
    size = seed % 5000
    rows = one_row(size, dtype, device, layout=layout, seed=seed, one_step_size=one_step_size)
    rows.step_sizes *= step_size / 0.01
    check(rows, temperature)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("one_step_size", [False, True])
@pytest.mark.parametrize("size", SIZES)
def test_agrees_around_every_block_and_chunk(
    device: str, size: int, one_step_size: bool, dtype: torch.dtype
) -> None:
    check(one_row(size, dtype, device, seed=size, one_step_size=one_step_size), 0.7)


@given(step_size=step_sizes, temperature=temperatures, seed=seeds)
def test_is_the_textbook_ratio(step_size: float, temperature: float, seed: int) -> None:
    """(V - V') / tau - ||x - x' + eta g'||^2 / (4 eta tau) + ||eps||^2 / 2, in float64."""
    rows = one_row(1000, torch.float64, "cpu", seed=seed, one_step_size=True)
    rows.step_sizes.fill_(step_size)
    rows.proposal = ops.propose_rows(*rows.drift(), temperature)
    noise_sq = chains_ref.normal((1000,), rows.rng, torch.float64).square().sum()
    reverse = rows.x - rows.proposal + step_size * rows.grad_proposal
    textbook = (
        (rows.potential - rows.potential_proposal) / temperature
        - reverse.square().sum() / (4 * step_size * temperature)
        + noise_sq / 2
    )
    # The textbook form subtracts squares of this size, from values rounded at ulp(x).
    scale = float(noise_sq) + 1000 * 4 / math.sqrt(2 * step_size * temperature)
    error = abs(log_ratio(rows, temperature) - float(textbook))
    assert error <= 1e-14 * (scale + magnitude(rows, temperature))


def test_ten_million_entries(device: str) -> None:
    """Error at most twice plain PyTorch's, both against float64; and next to float64's own."""
    rows = one_row(10_000_000, torch.float32, device, seed=12, one_step_size=True)
    rows.step_sizes.fill_(1e-3)
    rows.proposal = rows.x + 0.4 * (rows.proposal - rows.x)
    rows.grad_proposal = rows.grad + 0.4 * (rows.grad_proposal - rows.grad)
    rows.potential.fill_(1e6)
    rows.potential_proposal.fill_(1e6 + 1)
    exact = float(chains_ref.log_ratios(*rows.evaluated(), rows.step_sizes))
    both = rows.grad + rows.grad_proposal
    work = ((rows.proposal - rows.x) * both).sum()
    grad_change = ((rows.grad_proposal - rows.grad) * both).sum()
    plain = -1 + float(work) / 2 - 1e-3 * float(grad_change) / 4
    error = abs(log_ratio(rows) - exact)
    assert error <= 2 * abs(plain - exact)
    assert error <= 1e-7


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("size", [1, 2, 21, 20_000])
def test_what_is_not_finite_is_minus_infinity(
    device: str, size: int, value: float, dtype: torch.dtype
) -> None:
    rows = one_row(size, dtype, device)
    rows.potential_proposal -= 1e6  # else accepted
    assert probability(rows) == 1
    for name in ("proposal", "grad_proposal"):
        for index in {0, size // 2, size - 1}:
            broken = rows.clone()
            getattr(broken, name)[0, index] = value
            assert probability(broken) == 0
    broken = rows.clone()
    broken.potential_proposal.fill_(value)
    assert probability(broken) == 0
    broken = rows.clone()
    broken.grad[0, size - 1] = math.nan
    assert probability(broken) == 0


def test_a_state_of_infinite_potential_is_left_for_any_finite_one(device: str) -> None:
    rows = one_row(5, torch.float32, device)
    rows.potential.fill_(math.inf)
    assert probability(rows) == 1


def test_of_no_elements_only_the_potentials_count(device: str) -> None:
    rows = one_row(0, torch.float32, device)
    rows.potential_proposal.copy_(rows.potential + 0.2)
    assert math.log(probability(rows, 0.5)) == pytest.approx(-0.4)
