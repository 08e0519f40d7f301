"""Every CUDA kernel under other schedules: nobody may depend on who comes first.

The smallest calls that reach every kernel, so that they can also run where each step is watched:
``make emulate SANITIZE=thread`` looks for races in them.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from helpers import emulator
from helpers.layer_cases import RUNS, make_layer
from helpers.ops_cases import make_extras, make_rows
from lae_fast import ops
from lae_fast.ops import networks

pytestmark = pytest.mark.cuda

Call = Callable[[str], list[Tensor]]
SCHEDULES = [("reverse", 4, 1), ("random", 1, 2), ("random", 3, 3), ("random", 8, 4)]


def chains(n: int, d: int) -> Call:
    def call(device: str) -> list[Tensor]:
        rows = make_rows((n, d), torch.float32, device=device, seed=4)
        proposal = ops.propose_rows(*rows.drift())
        rows, extras = make_extras(rows, 2, False, "contiguous")
        ops.step_rows_(*rows.tensors(), **extras)
        outputs = [value for value in extras.values() if isinstance(value, Tensor)]
        return [proposal, *rows.tensors(), *outputs]

    return call


def layers(n: int, d: int) -> Call:
    def call(device: str) -> list[Tensor]:
        made = [make_layer((n, d), torch.float32, device=device, seed=seed) for seed in (5, 6)]
        results = [t for run in RUNS for t in run(networks, made[0].clone())]
        networks.copy_rows_([made[0].a], [made[1].a], made[0].chosen)
        return [*results, made[0].a]

    return call


CALLS = {
    "rows in one launch": chains(37, 5),
    "a row": chains(1, 300),
    "a row in blocks": chains(1, 16_385),
    "long rows in one launch": chains(3, 300),
    "long rows in blocks": chains(60, 300),
    "rows in blocks": chains(2_100, 8),
    "layers": layers(3, 70),
    "columns in parts": layers(600, 3),
}


@pytest.mark.parametrize(("order", "blocks", "seed"), SCHEDULES)
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_results_do_not_depend_on_the_schedule(
    emulated: str, call: Call, order: str, blocks: int, seed: int
) -> None:
    emulator.schedule("forward", 1)
    plain = call(emulated)
    emulator.schedule(order, blocks, seed)
    try:
        for one, other in zip(plain, call(emulated), strict=True):
            assert torch.equal(one.cpu(), other.cpu())
    finally:
        emulator.schedule()
