from __future__ import annotations

import os

# As the command line does it, and before torch is loaded: waiting threads must not spin.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import pytest
import torch
from hypothesis import settings

# Examples are derived from the test's name, so a failure is the same failure everywhere.
settings.register_profile("lae", deadline=None, derandomize=True, max_examples=40)
settings.load_profile("lae")

DEVICES = [
    pytest.param("cpu"),
    pytest.param(
        "cuda",
        marks=[
            pytest.mark.cuda,
            pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
        ],
    ),
]


@pytest.fixture(params=DEVICES, scope="session")
def device(request: pytest.FixtureRequest) -> str:
    """Every device there is: the CPU, and CUDA where a GPU is visible."""
    return str(request.param)


@pytest.fixture
def quick_watcher(monkeypatch: pytest.MonkeyPatch) -> None:
    """A dashboard that looks at its runs all the time, for tests that wait for it."""
    monkeypatch.setattr("lae_cli.dashboard.watcher.POLL", 0.1)
    monkeypatch.setattr("lae_cli.dashboard.watcher.SCAN", 0.1)
    monkeypatch.setattr("lae_cli.dashboard.chart.LEAST_WAIT", 0.0)
