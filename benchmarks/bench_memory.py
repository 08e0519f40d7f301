"""Peak memory of training against T, each in a process of its own; on CUDA, the GPU's."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

CHILD = """
import sys
sys.path.insert(0, sys.argv[1])
import iterations as it
from lae_fast.train.watching.meter import peak_memory_bytes
run = getattr(it, sys.argv[2])(it.Setting(int(sys.argv[3])), sys.argv[4])
for _ in range(2):
    run()
print(peak_memory_bytes())
"""
CASES = [("naive", 2), ("naive", 50)]
CASES += [(variant, steps) for variant in ("fused", "per_image") for steps in (2, 50, 200)]


@pytest.mark.parametrize(("variant", "steps"), CASES)
def test_peak_memory(benchmark: Any, steps: int, variant: str, device: str) -> None:
    def run() -> int:
        arguments = [str(Path(__file__).parent), variant, str(steps), device]
        command = [sys.executable, "-c", CHILD, *arguments]
        return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    benchmark.group = f"peak memory, {variant}, {device}"
    peak = benchmark.pedantic(run, rounds=1)
    benchmark.extra_info |= {"variant": f"T={steps}", "baseline": "T=2", "peak_bytes": peak}
