"""The operators of the explicit networks against their references, over everything they take."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from helpers.layer_cases import (
    EPS,
    RUNS,
    Layer,
    Run,
    bernoulli,
    discretized_logistic,
    gaussian,
    make_layer,
)
from helpers.ops_cases import DTYPES, dtypes, largest, layouts, seeds
from lae_fast.ops import networks, networks_ref

NAMESPACE = torch.ops.lae_fast
shapes = st.tuples(st.integers(0, 40), st.integers(1, 70))
# Around what the kernels treat differently: lanes, rows added at once, chunks, threads.
SHAPES = [(1, 1), (33, 31), (65, 33), (512, 256), (100, 1024), (2, 5000), (700, 784)]


LIKELIHOODS = (bernoulli, gaussian, discretized_logistic)


def check(run: Run, layer: Layer) -> None:
    """Error at most twice plain PyTorch's, both against float64; and only results are written."""
    dtype = layer.a.dtype
    exact = run(networks_ref, layer.double().clone())
    plain = run(networks_ref, layer.clone())
    after = layer.clone()
    got = run(networks, after)
    eps = torch.finfo(dtype).eps
    terms = max(layer.a.shape)
    for mine, theirs, wanted in zip(got, plain, exact, strict=True):
        assert mine.shape == wanted.shape
        assert mine.dtype == theirs.dtype
        # A few last bits of the sums' terms on top, since of few elements PyTorch may be exact.
        slack = 4 * eps * (largest(wanted) + math.sqrt(terms))
        assert largest(mine - wanted) <= 2 * largest(theirs - wanted) + slack
    written = {id(t) for t in got}
    for name, tensor in after.__dict__.items():
        assert id(tensor) in written or torch.equal(tensor, getattr(layer, name)), name


@given(shape=shapes, dtype=dtypes, layout=layouts, seed=seeds)
@pytest.mark.parametrize("run", RUNS)
def test_agrees_with_the_reference(device: str, run: Run, shape, dtype, layout, seed) -> None:
    check(run, make_layer(shape, dtype, device=device, layout=layout, seed=seed))


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_agrees_around_every_lane_and_chunk(
    device: str, shape: tuple[int, int], dtype: torch.dtype, run: Run
) -> None:
    check(run, make_layer(shape, dtype, device=device, seed=3))


@given(n=st.integers(0, 50), dtype=dtypes, layout=layouts, seed=seeds, where=st.booleans())
def test_copy_rows_copies_the_chosen_rows_of_every_pair(
    device: str, n: int, dtype: torch.dtype, layout: str, seed: int, where: bool
) -> None:
    layer = make_layer((n, 7), dtype, device=device, layout=layout, seed=seed)
    others = make_layer((n, 7), dtype, device=device, layout=layout, seed=seed + 1)
    source = [others.a, others.rows, others.x.double()]
    into = [layer.a, layer.rows, layer.x.double()]
    plain = [t.clone() for t in into]
    networks.copy_rows_(into, source, layer.chosen, where)
    networks_ref.copy_rows_(plain, source, layer.chosen, where)
    for mine, theirs in zip(into, plain, strict=True):
        assert torch.equal(mine, theirs)


@pytest.mark.parametrize("run", LIKELIHOODS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("output", [0.0, -0.0, 1e-4, 30.0, -30.0, 120.0, -120.0, 1e4, -1e4])
def test_likelihoods_far_from_the_data(
    device: str, output: float, dtype: torch.dtype, run: Run
) -> None:
    layer = make_layer((4, 20), dtype, device=device, seed=6)
    layer.a.fill_(output)
    layer.bias.zero_()
    wanted = run(networks_ref, layer.double().clone())
    got = run(networks, layer)
    for mine, theirs in zip(got, wanted, strict=True):
        tolerance = 30 * torch.finfo(dtype).eps
        torch.testing.assert_close(mine.double(), theirs, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("run", LIKELIHOODS)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_decoder_that_is_not_finite_gives_a_value_that_is_not(
    device: str, value: float, run: Run
) -> None:
    layer = make_layer((3, 40), torch.float32, device=device, seed=2)
    layer.a[1, 20] = value
    values = run(networks, layer)[1]
    assert values.isfinite().tolist() == [True, False, True]


def test_the_mask_of_relu_is_its_outputs(device: str) -> None:
    """No gradient where the output is 0, whatever the normalised value."""
    layer = make_layer((5, 6), torch.float64, device=device, seed=1)
    layer.c.zero_()
    networks.norm_relu_backward_(layer.a, layer.b, layer.c, layer.rows, layer.gain, layer.x)
    assert not layer.a.any()
    assert not layer.x.any()


def test_threads_do_not_change_the_bits() -> None:
    threads = torch.get_num_threads()
    results = []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            layer = make_layer((700, 784), torch.float32, device="cpu", seed=5)
            results.append([t for run in RUNS for t in run(networks, layer.clone())])
    finally:
        torch.set_num_threads(threads)
    for one, two in zip(*results, strict=True):
        assert torch.equal(one, two)


def arguments(op: str, t: Layer) -> dict[str, Any]:
    """A valid call of every operator, by the names in its schema."""
    return {
        "norm_relu_": {
            "u": t.a,
            "bias": t.bias,
            "gain": t.gain,
            "shift": t.shift,
            "y": t.b,
            "rstd": t.rows,
            "eps": EPS,
        },
        "norm_relu_backward_": {
            "grad": t.a,
            "normed": t.b,
            "y": t.c,
            "rstd": t.rows,
            "gain": t.gain,
            "grad_u": t.x,
        },
        "add_norm_grads_": {
            "gain_grad": t.gain,
            "shift_grad": t.shift,
            "bias_grad": t.bias,
            "grad": t.a,
            "normed": t.b,
            "grad_u": t.c,
            "weight": 0.5,
        },
        "copy_rows_": {"into": [t.a], "source": [t.b], "rows": t.chosen, "where": True},
        "bernoulli_grad_": {"output": t.a, "bias": t.bias, "x": t.x},
        "gaussian_grad_": {"output": t.a, "bias": t.bias, "x": t.x, "log_scale": t.log_scale},
        "discretized_logistic_grad_": {
            "output": t.a,
            "bias": t.bias,
            "x": t.x,
            "log_scale": t.log_scale,
        },
    }[op]


OPERATORS = (
    "norm_relu_",
    "norm_relu_backward_",
    "add_norm_grads_",
    "copy_rows_",
    "bernoulli_grad_",
    "gaussian_grad_",
    "discretized_logistic_grad_",
)


@pytest.mark.slow
@pytest.mark.parametrize("op", OPERATORS)
@pytest.mark.parametrize("layout", ["contiguous", "transposed"])
def test_opcheck(device: str, layout: str, op: str) -> None:
    layer = make_layer((4, 6), torch.float32, device=device, layout=layout, seed=1)
    operator = getattr(NAMESPACE, op).default
    torch.library.opcheck(operator, tuple(arguments(op, layer).values()))


@pytest.mark.parametrize("kind", ["shape", "dtype"])
@pytest.mark.parametrize("op", OPERATORS)
def test_a_wrong_argument_is_named_with_what_is_wrong(op: str, kind: str) -> None:
    layer = make_layer((3, 4), torch.float32, device="cpu", seed=1)
    valid = arguments(op, layer)
    first = "grad" if op == "add_norm_grads_" else next(iter(valid))
    for name, tensor in valid.items():
        if not isinstance(tensor, Tensor) or name == first:
            continue
        bad = tensor.new_zeros((2, 2)) if kind == "shape" else tensor.to(torch.int32)
        with pytest.raises(RuntimeError) as caught:
            getattr(NAMESPACE, op)(*(valid | {name: bad}).values())
        message = str(caught.value)
        # Rows are what the tensors are judged by, so their shape is told as the tensor's.
        told = "into" if (op, name, kind) == ("copy_rows_", "rows", "shape") else name
        assert message.startswith(f"{op}: {told} has {kind} "), message
        assert "must be" in message
        assert "\n" not in message.strip()


def test_pairs_of_copy_rows_must_fit() -> None:
    layer = make_layer((3, 4), torch.float32, device="cpu", seed=1)
    with pytest.raises(RuntimeError, match="into has 1 tensors but source has 0"):
        networks.copy_rows_([layer.a], [], layer.chosen)
    with pytest.raises(RuntimeError, match=r"source has shape \[3\] but into has shape \[3, 4\]"):
        networks.copy_rows_([layer.a], [layer.rows], layer.chosen)
