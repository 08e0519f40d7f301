"""One row: a chain on a whole matrix, whose elements threads and blocks share."""

from __future__ import annotations

import math

import pytest
import torch

from helpers.ops_cases import DTYPES, SIZES, Rows, check_step, make_rows
from lae_fast import ops
from lae_fast.ops import chains_ref


def one_row(size: int, dtype: torch.dtype, device: str, layout: str = "contiguous") -> Rows:
    """With one step size for all elements."""
    return make_rows(
        (1, size), dtype, device=device, layout=layout, seed=2, step=2**32 - 1, one_step_size=True
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", SIZES)
def test_agrees_around_every_block_and_chunk(device: str, size: int, dtype: torch.dtype) -> None:
    decisions = set()
    for change in (-1e4, 1e4):
        rows = one_row(size, dtype, device)
        rows.potential_proposal += change
        decisions.add(bool(check_step(rows)))
    assert decisions == {True, False}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [37, 300, 4097, 16_385, 40_001])
def test_the_decision_is_exact_next_to_its_threshold(
    device: str, size: int, dtype: torch.dtype
) -> None:
    """Where the log ratio is within 1e-6 of the logarithm of the uniform."""
    rows = one_row(size, dtype, device)
    threshold = float(chains_ref.uniform(rows.rng).log())
    ratio = float(chains_ref.log_ratios(*rows.evaluated(), rows.step_sizes))
    rows.potential_proposal += ratio - threshold
    for margin in (-1e-6, 1e-6):
        near = rows.clone()
        near.potential_proposal += margin
        assert bool(check_step(near)) == (margin < 0)


def test_one_step_size_is_as_many_equal_ones(device: str) -> None:
    """The same bits of the state and of the proposals."""
    for size in (300, 16_385):
        one = one_row(size, torch.float32, device)
        one.potential_proposal -= 1e4
        many = one.clone()
        many.step_sizes = one.step_sizes.expand(size)
        for rows in (one, many):
            ops.step_rows_(*rows.tensors(), 0.7)
        for name in ("x", "grad", "potential", "proposal", "accepted"):
            assert torch.equal(getattr(one, name), getattr(many, name)), name
        torch.testing.assert_close(one.info, many.info, rtol=1e-12, atol=1e-12)


def test_many_steps_agree_with_the_reference(device: str) -> None:
    """A Gaussian target; both decisions occur, and running sums are carried."""
    rows = one_row(42, torch.float64, device)
    rows.rng[1] = 0
    rows.step_sizes.fill_(0.3)
    rows.potential.copy_(rows.x.square().sum(1) / 2)
    rows.grad.copy_(rows.x)
    rows.proposal.copy_(ops.propose_rows(*rows.drift()))
    rows.info.zero_()
    for _ in range(60):
        rows.potential_proposal.copy_(rows.proposal.square().sum(1) / 2)
        rows.grad_proposal.copy_(rows.proposal)
        check_step(rows)
    assert int(rows.rng[1]) == 60
    assert 5 < float(rows.info[3]) < 60


@pytest.mark.parametrize("size", [10, 20_000])
def test_strided_state_is_updated_in_place_and_its_neighbours_are_not(
    device: str, size: int
) -> None:
    rows = one_row(size, torch.float32, device, layout="sliced")
    rows.potential_proposal.fill_(-1e6)
    storage = rows.x.untyped_storage().data_ptr()
    assert check_step(rows)
    assert rows.x.untyped_storage().data_ptr() == storage
    gaps = rows.x.as_strided((1, size), (2 * size, 2), 1)
    assert bool(gaps.isnan().all())


@pytest.mark.parametrize("mh", [True, False])
@pytest.mark.parametrize("name", ["proposal", "grad_proposal", "potential_proposal"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("size", [3, 20_000])
def test_what_is_not_finite_is_rejected(
    device: str, size: int, value: float, name: str, mh: bool
) -> None:
    rows = one_row(size, torch.float32, device)
    getattr(rows, name).view(-1)[-1] = value
    before = rows.clone()
    ops.step_rows_(*rows.tensors(), 1.0, mh)
    for kept in ("x", "grad", "potential"):
        assert torch.equal(getattr(rows, kept), getattr(before, kept))
    assert bool(rows.proposal.isfinite().all())
    wanted = [0.0, 0.0, *before.info[2:4].tolist(), float(before.info[4] + before.potential)]
    assert rows.info.tolist() == wanted


def test_accepts_with_the_probability_of_the_ratio(device: str) -> None:
    """Within 5 standard errors over 4000 steps: a correct step fails one seed in 1.7e6."""
    n, probability = 4000, math.exp(-1.2)
    rows = one_row(0, torch.float32, device)
    rows.info.zero_()
    for _ in range(n):
        rows.potential.zero_()
        rows.potential_proposal.fill_(1.2)
        ops.step_rows_(*rows.tensors())
    assert float(rows.info[2]) == pytest.approx(n * probability, rel=1e-9)
    error = float(rows.info[3]) / n - probability
    assert abs(error) < 5 * math.sqrt(probability * (1 - probability) / n)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("size", [2048, 262_144])
def test_a_cuda_graph_of_steps_equals_the_steps(size: int) -> None:
    def iterate(rows: Rows) -> None:
        rows.grad_proposal.copy_(rows.proposal)
        rows.potential_proposal.copy_(rows.proposal.double().square().sum(1) / 2)
        ops.step_rows_(*rows.tensors())

    eager = one_row(size, torch.float32, "cuda")
    eager.potential.copy_(eager.x.double().square().sum(1) / 2)
    graphed = eager.clone()
    scratch = eager.clone()
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        iterate(scratch)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        iterate(graphed)
    for _ in range(20):
        graph.replay()
        iterate(eager)
    for a, b in zip(eager.tensors(), graphed.tensors(), strict=True):
        assert torch.equal(a, b)
