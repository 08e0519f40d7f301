"""Time of an iteration of ``lae train`` as one size grows and the others stay; and as more
processes, of one thread each, share the batch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import iterations as it
import pytest
from iterations import Setting

SWEEPS = {
    "steps": (1, 2, 10, 50, 200),
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
    run = it.waiting(it.as_trained(Setting(**(BASE | {size: value})), device), device)
    benchmark.pedantic(run, rounds=2 if value >= 200 else 5, warmup_rounds=1)


def rank_counts() -> list[int]:
    """1, 2, 4 ... processes, as many as there are cores."""
    cores = os.cpu_count() or 1
    return [1 << k for k in range(cores.bit_length()) if 1 << k <= cores]


@pytest.mark.parametrize("ranks", rank_counts())
def test_ranks(benchmark: Any, ranks: int) -> None:
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        str(ranks),
        str(Path(__file__).with_name("ranks.py")),
        "--json",
    ]

    def run() -> float:
        environ = os.environ | {"OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, check=True, capture_output=True, text=True, env=environ)
        return float(json.loads(done.stdout)["image"]["together"])

    benchmark.group = f"scaling with ranks, from {Setting(**BASE)}, cpu"
    seconds = benchmark.pedantic(run, rounds=1)
    benchmark.extra_info |= {
        "variant": f"ranks {ranks}",
        "baseline": "ranks 1",
        "cost": True,
        "measured_seconds": seconds,
    }
