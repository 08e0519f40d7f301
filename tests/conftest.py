from __future__ import annotations

import asyncio
import inspect
import os

# As the command line does it, and before torch is loaded: waiting threads must not spin.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import pytest
import torch
from hypothesis import settings

from helpers import emulator

# Examples are derived from the test's name, so a failure is the same failure everywhere.
settings.register_profile("lae", deadline=None, derandomize=True, max_examples=40)
settings.load_profile("lae")

DEVICES = [
    pytest.param("cpu"),
    pytest.param("emulated", marks=pytest.mark.cuda),
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
    """Every device: the CPU, the CUDA kernels emulated on it, and CUDA where there is a GPU."""
    return emulated_device() if request.param == "emulated" else str(request.param)


@pytest.fixture(scope="session")
def emulated() -> str:
    """The device on which the CUDA kernels' source runs without a GPU."""
    return emulated_device()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Load the emulator before the first test, if any wants it.

    At the first backward pass of a process, autograd makes its threads for the devices that there
    are, and knows no others from then on.
    """
    wanted = any(
        "emulated" in getattr(item, "fixturenames", ()) or "[emulated" in item.name
        for item in session.items
    )
    if wanted and emulator.why_not() is None and not session.config.option.collectonly:
        emulator.load()


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a test that is a coroutine function; pytest leaves that to plugins."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = inspect.signature(pyfuncitem.obj).parameters
    asyncio.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names}))
    return True


def emulated_device() -> str:
    obstacle = emulator.why_not()
    return pytest.skip(obstacle) if obstacle else emulator.load()


@pytest.fixture
def quick_watcher(monkeypatch: pytest.MonkeyPatch) -> None:
    """A dashboard that looks at its runs all the time, for tests that wait for it."""
    monkeypatch.setattr("lae_cli.dashboard.following.watcher.POLL", 0.1)
    monkeypatch.setattr("lae_cli.dashboard.following.watcher.SCAN", 0.1)
    monkeypatch.setattr("lae_cli.dashboard.charts.chart.LEAST_WAIT", 0.0)
