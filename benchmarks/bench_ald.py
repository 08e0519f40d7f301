"""The chains' operators: fused against eager PyTorch, torch.compile, and a copy of the bytes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import baselines
import pytest
import torch
from baselines import synchronise
from torch import Tensor

from lae_fast import ops
from lae_fast.sampling import ald

ETA, TAU = 1e-3, 1.0
PER_IMAGE = (512, 8)
"""A chain of 8 latents per image of a batch; a single row is one chain on a whole matrix."""
Run = Callable[[], object]


class Inputs:
    """Chains and their evaluated proposals; a single one has one step size for all elements."""

    def __init__(self, shape: tuple[int, int], device: str) -> None:
        generator = torch.Generator().manual_seed(0)
        self.x, self.grad, self.proposal, self.grad_proposal = (
            torch.randn(shape, generator=generator).to(device) for _ in range(4)
        )
        self.old, self.new = (
            torch.full((shape[0],), value, dtype=torch.float64, device=device)
            for value in (5.0, 4.0)
        )
        self.rng = ald.make_rng(0, device)
        self.info = torch.zeros(5, dtype=torch.float64, device=device)
        self.moved = torch.zeros(shape[0], dtype=torch.bool, device=device)
        count = 1 if shape[0] == 1 else shape[1]
        self.sizes = torch.full((count,), ETA, dtype=torch.float64, device=device)

    @property
    def both(self) -> tuple[Tensor, ...]:
        return self.x, self.grad, self.old, self.proposal, self.grad_proposal, self.new


FUSED: dict[str, Callable[[Inputs], Run]] = {
    "propose_rows": lambda t: lambda: ops.propose_rows(t.x, t.grad, t.rng, t.sizes, TAU),
    "step_rows_": lambda t: (
        lambda: ops.step_rows_(*t.both, t.rng, t.moved, t.info, t.sizes, TAU, True)
    ),
}


def eager(op: str, t: Inputs, wrap: Callable[[Any], Any]) -> Run:
    """The same in plain PyTorch; ``wrap`` is what compiles it."""
    function = wrap(getattr(baselines, f"eager_{op.rstrip('_')}"))
    sizes = t.sizes.to(t.x.dtype)
    args: dict[str, tuple[Any, ...]] = {
        "propose_rows": (t.x, t.grad, sizes, TAU),
        "step_rows_": (*t.both, sizes, TAU),
    }
    return lambda: function(*args[op])


# operator -> shapes, and how many matrices it reads or writes
CASES = {
    "step_rows_": ([(1, 512), (1, 2048), (1, 16_384), (1, 262_144), PER_IMAGE], 7),
    "propose_rows": ([(1, 2048), (1, 262_144), PER_IMAGE], 3),
}
COPY = "copy of as many bytes"


VARIANTS = ["eager", "compile", "fused", COPY]
MANY = (1, 2**24)
"""Far beyond any cache, so that memory bounds what the kernels can do."""
QUEUED = {"cpu": 1, "cuda": 20}
"""Calls in a row, so that a GPU is timed, and not its host."""


def make_run(op: str, shape: tuple[int, int], device: str, variant: str) -> Run:
    """One call of an operator, or a copy that reads and writes as many bytes."""
    t = Inputs(shape, device)
    if variant == COPY:
        source = torch.rand(t.x.numel() * CASES[op][1] // 2, device=device)
        target = torch.empty_like(source)
        return lambda: target.copy_(source)
    if variant == "fused":
        return FUSED[op](t)
    compiled = variant == "compile"
    return eager(op, t, lambda f: torch.compile(f, dynamic=False) if compiled else f)


def describe(benchmark: Any, op: str, shape: tuple[int, int], device: str, variant: str) -> None:
    benchmark.group = f"{op}, {shape[0]}x{shape[1]}, {device}"
    floor = COPY if variant == "fused" else None
    benchmark.extra_info |= {"variant": variant, "baseline": "eager", "floor": floor}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(
    ("op", "shape"), [(op, shape) for op, (shapes, _) in CASES.items() for shape in shapes]
)
def test_operator(
    benchmark: Any, op: str, shape: tuple[int, int], device: str, variant: str
) -> None:
    describe(benchmark, op, shape, device, variant)
    run = make_run(op, shape, device, variant)

    def whole() -> None:
        run()
        synchronise(device)

    benchmark.pedantic(whole, rounds=300, warmup_rounds=10)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("op", CASES)
def test_bandwidth(benchmark: Any, op: str, device: str, variant: str) -> None:
    """What share of the bandwidth of a copy an operator reaches."""
    describe(benchmark, op, MANY, device, variant)
    run, took = make_run(op, MANY, device, variant), []

    def queued() -> None:
        began = time.perf_counter()
        for _ in range(QUEUED[device]):
            run()
        synchronise(device)
        took.append((time.perf_counter() - began) / QUEUED[device])

    benchmark.pedantic(queued, rounds=5, warmup_rounds=1)
    size = MANY[0] * MANY[1] * torch.float32.itemsize
    benchmark.extra_info["bytes"] = CASES[op][1] * size
    if QUEUED[device] > 1:
        benchmark.extra_info["measured_seconds"] = min(took)
