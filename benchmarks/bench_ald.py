"""One accept/reject and the next proposal: fused against eager PyTorch and torch.compile."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from baselines import eager_step, synchronise

from lae_fast import ald, ops

SHAPES = [(2, 256), (8, 256), (16, 1024), (64, 4096)]
ETA, TAU = 1e-3, 1.0


def inputs(shape: tuple[int, int], device: str) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)

    def randn() -> torch.Tensor:
        return torch.randn(shape, generator=generator).to(device)

    return {
        "phi": randn(), "grad": randn(), "proposal": randn(), "grad_proposal": randn(),
        "potential": torch.tensor(5.0, dtype=torch.float64, device=device),
        "potential_proposal": torch.tensor(4.0, dtype=torch.float64, device=device),
    }  # fmt: skip


@pytest.mark.parametrize("variant", ["eager", "compile", "fused"])
@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: f"{s[0]}x{s[1]}")
def test_step(benchmark: Any, shape: tuple[int, int], device: str, variant: str) -> None:
    benchmark.group = f"ALD step, phi {shape[0]}x{shape[1]}, {device}"
    benchmark.extra_info |= {"variant": variant, "baseline": "eager"}
    t = inputs(shape, device)
    if variant == "fused":
        rng, info = ald.make_rng(0, device), torch.zeros(4, dtype=torch.float64, device=device)

        def run() -> None:
            ops.step_(
                t["phi"], t["grad"], t["potential"], t["proposal"], t["grad_proposal"],
                t["potential_proposal"], rng, info, ETA, TAU, True,
            )  # fmt: skip
            synchronise(device)
    else:
        step = torch.compile(eager_step, dynamic=False) if variant == "compile" else eager_step
        noise_sq = t["phi"].square().sum()

        def run() -> None:
            step(
                t["phi"], t["grad"], t["potential"], t["proposal"], noise_sq,
                t["grad_proposal"], t["potential_proposal"], ETA, TAU,
            )  # fmt: skip
            synchronise(device)

    for _ in range(10):
        run()
    benchmark(run)
