"""`propose` against its reference."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given

from helpers.ops_cases import (
    DTYPES,
    SIZES,
    dtypes,
    largest,
    layouts,
    make_case,
    rng_of,
    seeds,
    shapes,
    step_sizes,
    steps,
    temperatures,
)
from lae_fast import ops
from lae_fast.ops import chains_ref


def check(case_device: str, shape, dtype, layout, seed, step, step_size, temperature) -> None:
    case = make_case(shape, dtype, device=case_device, layout=layout, seed=seed, step=step)
    args = (case.phi, case.grad, case.rng, step_size, temperature)
    before = case.clone()
    proposal, noise_sq = ops.propose(*args)
    plain, plain_noise_sq = chains_ref.ald_propose(*args)
    exact, exact_noise_sq = chains_ref.ald_propose(
        case.phi.double(), case.grad.double(), case.rng, step_size, temperature
    )
    assert proposal.shape == case.phi.shape
    assert proposal.dtype == dtype
    assert proposal.is_contiguous()
    eps = torch.finfo(dtype).eps
    # Twice plain PyTorch's error; a last bit more, since of few elements PyTorch may be exact.
    budget = 2 * largest(plain - exact) + 2 * eps * largest(exact)
    assert largest(proposal - exact) <= budget
    assert noise_sq.dtype == torch.float64
    assert noise_sq.shape == ()
    error, plain_error = (abs(float(x - exact_noise_sq)) for x in (noise_sq, plain_noise_sq))
    assert error <= 2 * plain_error + 2 * eps * float(exact_noise_sq)
    for now, then in zip(case.tensors(), before.tensors(), strict=True):
        assert torch.equal(now, then)


@given(
    shape=shapes,
    dtype=dtypes,
    layout=layouts,
    seed=seeds,
    step=steps,
    step_size=step_sizes,
    temperature=temperatures,
)
def test_agrees_with_the_reference(
    device: str, shape, dtype, layout, seed, step, step_size, temperature
) -> None:
    check(device, shape, dtype, layout, seed, step, step_size, temperature)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", SIZES)
def test_agrees_around_every_block_and_chunk(device: str, size: int, dtype: torch.dtype) -> None:
    check(device, (size,), dtype, "contiguous", 3, 2**33, 1e-2, 0.7)


def test_drift_and_noise_scale_as_the_formula_says(device: str) -> None:
    """eta multiplies the gradient, sqrt(2 eta tau) the noise, whatever their sizes."""
    case = make_case((50,), torch.float64, device=device)
    eps = chains_ref.normal((50,), case.rng, torch.float64)
    for eta, tau in ((1e-3, 1 / 512), (0.3, 5.0)):
        wanted = case.phi - eta * case.grad + math.sqrt(2 * eta * tau) * eps
        torch.testing.assert_close(ops.propose(case.phi, case.grad, case.rng, eta, tau)[0], wanted)


def test_nothing_in_nothing_out(device: str) -> None:
    empty = torch.empty((3, 0), device=device)
    proposal, noise_sq = ops.propose(empty, empty, rng_of(0, 0, device), 1.0)
    assert proposal.shape == (3, 0)
    assert float(noise_sq) == 0


def test_rng_need_not_be_contiguous(device: str) -> None:
    case = make_case((9,), torch.float32, device=device, seed=6, step=8)
    strided = torch.tensor([[6, -1], [8, -1]], device=device)[:, 0]
    plain, strange = (ops.propose(case.phi, case.grad, r, 0.1)[0] for r in (case.rng, strided))
    assert torch.equal(plain, strange)
