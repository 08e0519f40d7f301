"""`step_` against its reference, its decisions, and its use inside a CUDA graph."""

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
    largest,
    layouts,
    make_case,
    rng_of,
    scalar,
    seeds,
    shapes,
    step_sizes,
    steps,
    temperatures,
)
from lae_fast import ops
from lae_fast.ops import chains_ref


def check(case: Case, step_size: float, temperature: float, mh: bool) -> bool:
    """Compare with the reference; return whether the step was accepted."""
    plain, before = case.clone(), case.clone()
    ops.step_(*case.tensors(), step_size, temperature, mh)
    chains_ref.ald_step_(*plain.tensors(), step_size, temperature, mh)
    # Selection, counting and what is only read are exact.
    for name in ("phi", "grad", "potential", "grad_proposal", "potential_proposal", "rng"):
        assert torch.equal(getattr(case, name), getattr(plain, name)), name
    torch.testing.assert_close(case.info, plain.info, rtol=1e-11, atol=1e-11)
    accepted = bool(case.info[1])
    chosen = (before.proposal, before.grad_proposal, before.potential_proposal)
    kept = (before.phi, before.grad, before.potential)
    for now, then in zip(
        (case.phi, case.grad, case.potential), chosen if accepted else kept, strict=True
    ):
        assert torch.equal(now, then)
    # The next proposal is `propose` of the new state, to the last bit.
    proposal, _ = ops.propose(case.phi, case.grad, case.rng, step_size, temperature)
    eps = torch.finfo(case.phi.dtype).eps
    assert largest(case.proposal - proposal) <= 2 * eps * largest(proposal)
    return accepted


@given(
    shape=shapes,
    dtype=dtypes,
    layout=layouts,
    seed=seeds,
    step=steps,
    step_size=step_sizes,
    temperature=temperatures,
)
@pytest.mark.parametrize("mh", [True, False])
def test_agrees_with_the_reference(
    device: str, mh: bool, shape, dtype, layout, seed, step, step_size, temperature
) -> None:
    case = make_case(shape, dtype, device=device, layout=layout, seed=seed, step=step)
    check(case, step_size, temperature, mh)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", SIZES)
def test_agrees_around_every_block_and_chunk(device: str, size: int, dtype: torch.dtype) -> None:
    decisions = set()
    for change in (-1e4, 1e4):
        case = make_case((size,), dtype, device=device, step=2**32 - 1)
        case.potential_proposal += change
        decisions.add(check(case, 1e-2, 1.0, mh=True))
    assert decisions == {True, False}


def test_many_steps_in_a_row_agree_with_the_reference(device: str) -> None:
    """A Gaussian target; both decisions occur, and running sums are carried."""
    case = make_case((6, 7), torch.float64, device=device, seed=2)
    case.potential.copy_(case.phi.square().sum() / 2)
    case.grad.copy_(case.phi)
    case.proposal.copy_(ops.propose(case.phi, case.grad, case.rng, 0.3)[0])
    case.info.zero_()
    for _ in range(60):
        case.potential_proposal.copy_(case.proposal.square().sum() / 2)
        case.grad_proposal.copy_(case.proposal)
        check(case, 0.3, 1.0, mh=True)
    assert int(case.rng[1]) == 60
    assert 5 < float(case.info[3]) < 60


@pytest.mark.parametrize("layout", ["transposed", "sliced"])
def test_strided_state_is_updated_in_place_and_its_neighbours_are_not(
    device: str, layout: str
) -> None:
    case = make_case((6, 10), torch.float32, device=device, layout=layout)
    case.potential_proposal.fill_(-1e6)
    storage = case.phi.untyped_storage().data_ptr()
    assert check(case, 0.1, 1.0, mh=True)
    assert case.phi.untyped_storage().data_ptr() == storage
    if layout == "sliced":
        gaps = case.phi.as_strided((6, 10), (20, 2), 1)
        assert bool(gaps.isnan().all())


def test_strided_rng_and_info_are_updated(device: str) -> None:
    case = make_case((5,), torch.float32, device=device)
    case.rng = torch.tensor([[1, -1], [2, -1]], device=device)[:, 0]
    case.info = torch.zeros((4, 2), dtype=torch.float64, device=device)[:, 1]
    check(case, 0.1, 1.0, mh=False)
    assert case.rng.tolist() == [1, 3]
    assert case.info.tolist()[1::2] == [1, 1]


@pytest.mark.parametrize("mh", [True, False])
@pytest.mark.parametrize("name", ["proposal", "grad_proposal", "potential_proposal"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("size", [3, 20_000])
def test_what_is_not_finite_is_rejected(
    device: str, size: int, value: float, name: str, mh: bool
) -> None:
    case = make_case((size,), torch.float32, device=device)
    getattr(case, name).view(-1)[-1] = value
    before = case.clone()
    ops.step_(*case.tensors(), 0.1, 1.0, mh)
    assert torch.equal(case.phi, before.phi)
    assert torch.equal(case.grad, before.grad)
    assert torch.equal(case.potential, before.potential)
    assert bool(case.proposal.isfinite().all())
    assert float(case.info[0]) == -math.inf
    assert case.info[1:].tolist() == [0.0, *before.info[2:].tolist()]


@pytest.mark.parametrize("log_ratio", [-0.1, -1.2, -4.0])
def test_accepts_with_the_probability_of_the_ratio(device: str, log_ratio: float) -> None:
    """Within 5 standard errors over 4000 steps: a correct step fails one seed in 1.7e6."""
    n = 4000
    nothing = torch.empty(0, device=device)
    info = torch.zeros(4, dtype=torch.float64, device=device)
    rng, potential = rng_of(99, 0, device), scalar(0.0, device)
    for _ in range(n):
        potential.zero_()
        proposed = scalar(-log_ratio, device)
        ops.step_(nothing, nothing, potential, nothing, nothing, proposed, rng, info, 0.1)
    probability = math.exp(log_ratio)
    assert float(info[2]) == pytest.approx(n * probability, rel=1e-9)
    error = float(info[3]) / n - probability
    assert abs(error) < 5 * math.sqrt(probability * (1 - probability) / n)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("size", [2048, 262_144])
def test_a_cuda_graph_of_steps_equals_the_steps(size: int) -> None:
    def evaluate(case: Case) -> None:
        case.grad_proposal.copy_(case.proposal)
        case.potential_proposal.copy_(case.proposal.double().square().sum() / 2)

    def iterate(case: Case) -> None:
        evaluate(case)
        ops.step_(*case.tensors(), 1e-2)

    eager = make_case((size,), torch.float32, device="cuda")
    eager.potential.copy_(eager.phi.double().square().sum() / 2)
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
