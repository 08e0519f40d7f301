"""Which kernels an iteration at T = 50 spends its time in: the CUDA profiler of PyTorch.

    python benchmarks/profile_kernels.py --out kernels.json

With ``--once`` one iteration runs and nothing else: what Nsight Compute is to look at.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from pathlib import Path
from typing import Any

import iterations as it
from baselines import synchronise
from iterations import Setting
from torch.profiler import ProfilerActivity, profile

OURS = re.compile(r"lae::cuda::.*?(\w+_kernel)")
MOST = 12
"""Kernels to list."""


def short(name: str) -> str:
    """A kernel's name without its template arguments."""
    ours = OURS.search(name)
    return ours.group(1) if ours else name.removeprefix("void ").split("<")[0].split("(")[0]


def kernels(setting: Setting, device: str, iterations: int) -> dict[str, Any]:
    """Seconds per iteration, on the clock and on the device, and the kernels that took most."""
    run = it.waiting(it.per_image(setting, device), device)
    run()
    run()
    began = time.perf_counter()
    for _ in range(iterations):
        run()
    wall = (time.perf_counter() - began) / iterations
    on_cuda = device == "cuda"
    activity = ProfilerActivity.CUDA if on_cuda else ProfilerActivity.CPU
    with profile(activities=[activity]) as profiled:
        for _ in range(iterations):
            run()
    rows: dict[str, dict[str, Any]] = {}
    for event in profiled.key_averages():
        took = event.self_device_time_total if on_cuda else event.self_cpu_time_total
        name = short(event.key)
        row = rows.setdefault(name, {"kernel": name, "launches": 0.0, "seconds": 0.0})
        row["ours"] = OURS.search(event.key) is not None
        row["launches"] += event.count / iterations
        row["seconds"] += took / 1e6 / iterations
    listed = sorted(rows.values(), key=lambda row: -row["seconds"])
    return {
        "setting": str(setting),
        "seconds_per_iteration": wall,
        "device_seconds_per_iteration": sum(row["seconds"] for row in listed),
        "kernels": listed[:MOST],
        "heaviest": [row["kernel"] for row in listed if row["ours"]][:3],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--iterations", type=int, default=5)
    parser.add_argument("--once", action="store_true")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    setting = Setting(options.steps, batch=options.batch)
    if options.once:
        it.per_image(setting, options.device)()
        synchronise(options.device)
        return
    found = kernels(setting, options.device, options.iterations)
    text = json.dumps(found, indent=2)
    if options.out:
        options.out.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
