"""`propose_rows` and `step_rows_`: n chains at once, against their references."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from helpers.ops_cases import (
    DTYPES,
    Extras,
    Rows,
    check_step,
    dtypes,
    largest,
    layouts,
    make_extras,
    make_rows,
    rng_of,
    seeds,
    shapes,
    steps,
    temperatures,
)
from lae_fast import ops
from lae_fast.ops import chains_ref

NAMESPACE = torch.ops.lae_fast
# Around what the kernels treat differently: lanes, tiles, chunks, threads, warps, GPU blocks.
SHAPES = [
    (1, 1),
    (3, 2),
    (5, 7),
    (255, 1),
    (257, 8),
    (512, 8),
    (513, 9),
    (1, 5000),
    (3, 4097),
    (1030, 33),
    (4099, 8),
    (20_001, 3),
]


def check_propose(rows: Rows, temperature: float) -> None:
    before = rows.clone()
    proposal = ops.propose_rows(*rows.drift(), temperature)
    plain = chains_ref.ald_propose_rows(*rows.drift(), temperature)
    exact = chains_ref.ald_propose_rows(
        rows.x.double(), rows.grad.double(), rows.rng, rows.step_sizes, temperature
    )
    assert proposal.shape == rows.x.shape
    assert proposal.dtype == rows.x.dtype
    assert proposal.is_contiguous()
    eps = torch.finfo(rows.x.dtype).eps
    assert largest(proposal - exact) <= 2 * largest(plain - exact) + 2 * eps * largest(exact)
    for now, then in zip(rows.tensors(), before.tensors(), strict=True):
        assert torch.equal(now, then)


arguments = st.fixed_dictionaries(
    {
        "shape": shapes,
        "dtype": dtypes,
        "layout": layouts,
        "seed": seeds,
        "step": steps,
        "one_step_size": st.booleans(),
    }
)
scales = st.floats(1e-4, 50.0)  # of step sizes about 0.01


@given(case=arguments, scale=scales, temperature=temperatures)
def test_propose_agrees_with_the_reference(
    device: str, case: dict[str, Any], scale: float, temperature: float
) -> None:
    rows = make_rows(**case, device=device)
    rows.step_sizes *= scale
    check_propose(rows, temperature)


@given(case=arguments, scale=scales, temperature=temperatures)
@pytest.mark.parametrize("mh", [True, False])
def test_step_agrees_with_the_reference(
    device: str, mh: bool, case: dict[str, Any], scale: float, temperature: float
) -> None:
    rows = make_rows(**case, device=device)
    rows.step_sizes *= scale
    check_step(rows, temperature, mh)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("one_step_size", [False, True])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_agree_around_every_tile_chunk_and_warp(
    device: str, shape: tuple[int, int], one_step_size: bool, dtype: torch.dtype
) -> None:
    rows = make_rows(
        shape, dtype, device=device, seed=4, step=2**32 - 1, one_step_size=one_step_size
    )
    check_propose(rows, 0.7)
    moved = check_step(rows, 0.7, mh=True)
    if len(moved) > 8 and shape[1] < 20:
        assert 0 < int(moved.sum()) < len(moved)


@given(shape=shapes, dtype=dtypes, layout=layouts, seed=seeds, terms=st.integers(1, 40))
@pytest.mark.parametrize("on_latents", [False, True])
def test_prior_terms_and_outputs_agree_with_the_reference(
    device: str, on_latents: bool, shape, dtype, layout, seed, terms
) -> None:
    check_extras(
        *make_extras(
            make_rows(shape, dtype, device=device, layout=layout, seed=seed),
            terms,
            on_latents,
            layout,
        )
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("terms", [1, 100])
@pytest.mark.parametrize("shape", [(1, 2048), (1, 20_000), (3, 300), (513, 9), (4099, 8)], ids=str)
def test_extras_agree_in_every_kernel(
    device: str, shape: tuple[int, int], terms: int, dtype: torch.dtype
) -> None:
    for on_latents in (False, True):
        rows = make_rows(shape, dtype, device=device, seed=4)
        check_extras(*make_extras(rows, terms, on_latents, "contiguous"))


def check_extras(rows: Rows, extras: Extras) -> None:
    plain, others = (
        rows.clone(),
        {k: v.clone() if isinstance(v, Tensor) else v for k, v in extras.items()},
    )
    pending = rows.proposal.clone()
    ops.step_rows_(*rows.tensors(), 0.7, **extras)
    chains_ref.ald_step_rows_(*plain.tensors(), 0.7, **others)
    eps = torch.finfo(rows.x.dtype).eps
    for name in ("x", "rng", "accepted"):
        assert torch.equal(getattr(rows, name), getattr(plain, name)), name
    assert torch.equal(rows.proposal, pending)
    assert torch.equal(extras["x_trace"], rows.x)
    assert torch.equal(extras["grad_trace"], rows.grad)
    torch.testing.assert_close(rows.grad, plain.grad, rtol=eps, atol=eps)
    torch.testing.assert_close(rows.potential, plain.potential, rtol=1e-12, atol=1e-12)
    # The prior's part of a gradient may round once or twice.
    close = 64 * eps
    torch.testing.assert_close(rows.info, plain.info, rtol=close, atol=close)
    next_ = extras["next_proposal"], others["next_proposal"]
    torch.testing.assert_close(*next_, rtol=64 * eps, atol=64 * eps)


def test_wrong_optional_arguments_are_named(device: str) -> None:
    wrong: tuple[tuple[str, Any, str], ...] = (
        ("prior", -1.0, "prior must be 0 or more and finite, not -1"),
        ("prior", math.nan, "prior must be 0 or more and finite"),
        (
            "latents",
            torch.zeros(7, device=device),
            r"latents has shape \[7\]; its elements must divide evenly among 3 rows",
        ),
        ("latents", torch.zeros(3, dtype=torch.int32, device=device), "latents has dtype int32"),
        ("next_proposal", torch.zeros(2, 4, device=device), "next_proposal has shape"),
        ("x_trace", torch.zeros(2, 4, device=device), "x_trace has shape"),
        ("grad_trace", torch.zeros(2, 4, device=device), "grad_trace has shape"),
    )
    rows = make_rows((3, 4), torch.float32, device=device)
    for name, value, text in wrong:
        with pytest.raises(RuntimeError, match=f"^ald_step_rows_: {text}"):
            ops.step_rows_(*rows.tensors(), **{name: value})
    rows.potential_proposal = torch.zeros(4, dtype=torch.float64, device=device)
    with pytest.raises(RuntimeError, match=r"potential_proposal has shape \[4\]; it must be \[3\]"):
        ops.step_rows_(*rows.tensors())


def test_drift_and_noise_scale_as_the_formula_says(device: str) -> None:
    """eta multiplies the gradient, sqrt(2 eta tau) the noise, whatever their sizes."""
    rows = make_rows((5, 10), torch.float64, device=device)
    eps = chains_ref.normal((5, 10), rows.rng, torch.float64)
    for eta, tau in ((1e-3, 1 / 512), (0.3, 5.0)):
        rows.step_sizes.fill_(eta)
        wanted = rows.x - eta * rows.grad + math.sqrt(2 * eta * tau) * eps
        torch.testing.assert_close(ops.propose_rows(*rows.drift(), tau), wanted)


def test_rng_and_info_need_not_be_contiguous(device: str) -> None:
    rows = make_rows((3, 5), torch.float32, device=device, seed=6, step=8)
    strided = rows.clone()
    strided.rng = torch.tensor([[6, -1], [8, -1]], device=device)[:, 0]
    strided.info = torch.stack([rows.info, rows.info - 1], 1)[:, 0]
    drawn = [ops.propose_rows(*case.drift()) for case in (rows, strided)]
    assert torch.equal(*drawn)
    for case in (rows, strided):
        ops.step_rows_(*case.tensors())
    for one, other in zip(rows.tensors(), strided.tensors(), strict=True):
        assert torch.equal(one, other)
    assert strided.rng.tolist() == [6, 9]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("n", "d", "cut"), [(40, 3, 16), (2100, 8, 1000), (9, 5, 8), (6, 2, 4)])
def test_parts_of_a_batch_step_as_the_whole_does(
    device: str, n: int, d: int, cut: int, dtype: torch.dtype
) -> None:
    whole = make_rows((n, d), dtype, device=device, seed=3, step=2**32 - 1)
    parts = [
        Rows(
            *(
                t[piece].clone() if name not in ("rng", "info", "step_sizes") else t.clone()
                for name, t in zip(Rows.__dataclass_fields__, whole.tensors(), strict=True)
            )
        )
        for piece in (slice(cut), slice(cut, n))
    ]
    drawn = [
        ops.propose_rows(*part.drift(), 0.7, first_row=first)
        for part, first in zip(parts, (0, cut), strict=True)
    ]
    assert torch.equal(torch.cat(drawn), ops.propose_rows(*whole.drift(), 0.7))
    for part, first in zip(parts, (0, cut), strict=True):
        plain = part.clone()
        ops.step_rows_(*part.tensors(), 0.7, first_row=first)
        chains_ref.ald_step_rows_(*plain.tensors(), 0.7, first_row=first)
        assert torch.equal(part.accepted, plain.accepted)
        tolerance = {"rtol": 0, "atol": 64 * torch.finfo(dtype).eps}
        torch.testing.assert_close(part.proposal, plain.proposal, **tolerance)
    ops.step_rows_(*whole.tensors(), 0.7)
    for name in ("x", "grad", "potential", "proposal", "accepted"):
        joined = torch.cat([getattr(part, name) for part in parts])
        assert torch.equal(joined, getattr(whole, name)), name


@pytest.mark.parametrize("first", [-4, 2])
def test_a_first_row_inside_a_block_is_refused(device: str, first: int) -> None:
    rows = make_rows((3, 4), torch.float32, device=device)
    for module in (ops, chains_ref):
        with pytest.raises(RuntimeError, match="first_row must be a multiple of four"):
            getattr(module, "propose_rows" if module is ops else "ald_propose_rows")(
                *rows.drift(), 1.0, first
            )


@pytest.mark.parametrize("mh", [True, False])
@pytest.mark.parametrize("name", ["proposal", "grad_proposal", "potential_proposal"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_only_the_row_that_is_not_finite_is_rejected(
    device: str, value: float, name: str, mh: bool
) -> None:
    rows = make_rows((7, 9), torch.float32, device=device)
    rows.potential_proposal.copy_(rows.potential - 1e6)
    getattr(rows, name)[3] = value
    before = rows.clone()
    ops.step_rows_(*rows.tensors(), 1.0, mh)
    assert rows.accepted.tolist() == [i != 3 for i in range(7)]
    assert torch.equal(rows.x[3], before.x[3])
    assert torch.equal(rows.potential[3], before.potential[3])
    assert bool(rows.proposal.isfinite().all())
    assert rows.info[:2].tolist() == [pytest.approx(6 / 7)] * 2


def test_rows_accept_with_the_probability_of_their_ratios(device: str) -> None:
    """Within 5 standard errors over 20000 rows: a correct step fails one seed in 1.7e6."""
    n = 20_000
    nothing = torch.empty((n, 0), device=device)
    for log_ratio in (-0.1, -1.2, -4.0):
        rows = Rows(
            nothing,
            nothing,
            torch.zeros(n, dtype=torch.float64, device=device),
            nothing,
            nothing,
            torch.full((n,), -log_ratio, dtype=torch.float64, device=device),
            rng_of(5, 0, device),
            torch.zeros(n, dtype=torch.bool, device=device),
            torch.zeros(5, dtype=torch.float64, device=device),
            torch.zeros(0, dtype=torch.float64, device=device),
        )
        ops.step_rows_(*rows.tensors())
        probability = math.exp(log_ratio)
        assert float(rows.info[0]) == pytest.approx(probability, rel=1e-9)
        error = float(rows.info[1]) - probability
        assert abs(error) < 5 * math.sqrt(probability * (1 - probability) / n)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", ["contiguous", "transposed"])
def test_opcheck(device: str, layout: str, dtype: torch.dtype) -> None:
    rows = make_rows((4, 6), dtype, device=device, layout=layout)
    torch.library.opcheck(NAMESPACE.ald_propose_rows.default, (*rows.drift(), 1.0))
    for mh in (True, False):
        torch.library.opcheck(NAMESPACE.ald_step_rows_.default, (*rows.tensors(), 1.0, mh))
    rows, extras = make_extras(rows, 3, True, layout)
    torch.library.opcheck(
        NAMESPACE.ald_step_rows_.default, (*rows.tensors(), 1.0, True, 0, *extras.values())
    )


def call(op: str, rows: Rows, temperature: float = 1.0) -> Any:
    if op == "ald_propose_rows":
        return NAMESPACE.ald_propose_rows(*rows.drift(), temperature)
    return NAMESPACE.ald_step_rows_(*rows.tensors(), temperature, True)


USED = {
    "ald_propose_rows": ("grad", "rng", "step_sizes"),
    "ald_step_rows_": tuple(Rows.__dataclass_fields__)[1:],
}


@pytest.mark.parametrize("kind", ["shape", "dtype"])
@pytest.mark.parametrize(("op", "name"), [(op, name) for op in USED for name in USED[op]])
def test_a_wrong_argument_is_named_with_what_is_wrong(
    device: str, op: str, name: str, kind: str
) -> None:
    rows = make_rows((3, 4), torch.float32, device=device)
    tensor = getattr(rows, name)
    bad = tensor.new_zeros((2, 2)) if kind == "shape" else tensor.to(torch.int32)
    setattr(rows, name, bad)
    before = rows.clone()
    with pytest.raises(RuntimeError) as caught:
        call(op, rows)
    message = str(caught.value)
    assert message.startswith(f"{op}: {name} has {kind} ")
    assert ("[2, 2]" if kind == "shape" else "int32") in message
    assert "\n" not in message.strip()
    for now, then in zip(rows.tensors(), before.tensors(), strict=True):
        assert torch.equal(now, then)


@pytest.mark.parametrize("op", USED)
def test_x_must_be_a_matrix_of_floats_and_settings_positive(op: str) -> None:
    rows = make_rows((3, 4), torch.float32)
    for value in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(RuntimeError, match=f"^{op}: temperature must be positive"):
            call(op, rows, temperature=value)
        bad = rows.clone()
        bad.step_sizes[2] = value
        with pytest.raises(RuntimeError, match=f"^{op}: step_sizes must be positive"):
            call(op, bad)
    bad = rows.clone()
    bad.x = bad.x.half()
    with pytest.raises(RuntimeError, match="x has dtype float16; it must be float32 or float64"):
        call(op, bad)
    bad.x = rows.x[0]
    with pytest.raises(RuntimeError, match=r"x has shape \[4\]; it must be \(rows, dimensions\)"):
        call(op, bad)
