"""Time of an iteration, a decision an image, as one size grows and the others stay."""

from __future__ import annotations

from typing import Any

import iterations as it
import pytest
from iterations import Setting

SWEEPS = {
    "steps": (2, 10, 50, 200),
    "batch": (128, 256, 512, 1024, 2048),
    "hidden": (128, 256, 512, 1024),
    "latents": (2, 8, 32, 128),
}
BASE = {"steps": 10}


@pytest.mark.parametrize(
    ("size", "value"), [(size, value) for size, values in SWEEPS.items() for value in values]
)
def test_scaling(benchmark: Any, size: str, value: int, device: str) -> None:
    benchmark.group = f"scaling with {size}, from {Setting(**BASE)}, {device}"
    benchmark.extra_info |= {
        "variant": f"{size} {value}",
        "baseline": f"{size} {SWEEPS[size][0]}",
        "cost": True,
    }
    run = it.waiting(it.per_image(Setting(**(BASE | {size: value})), device), device)
    benchmark.pedantic(run, rounds=2 if value >= 200 else 5, warmup_rounds=1)
