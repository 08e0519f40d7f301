"""Devices to measure on, the machine that a result belongs to, and results as they come."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from lae_fast import ops

sys.path.insert(0, str(Path(__file__).parent))

from budget import Lines

pytest_plugins = ["budget"]
DEVICES = ["cpu"] + (["cuda"] if torch.cuda.is_available() else [])


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--device", choices=("cpu", "cuda"), help="measure there alone")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "device" in metafunc.fixturenames:
        only = metafunc.config.getoption("--device")
        metafunc.parametrize("device", [only] if only else DEVICES)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Processes that share a batch are measured on the CPU, whatever the device."""
    if config.getoption("--device") == "cuda":
        items[:] = [item for item in items if "device" in getattr(item, "fixturenames", ())]


def pytest_sessionstart(session: pytest.Session) -> None:
    lines = session.config.getoption("--lines")
    if lines:
        Lines(Path(lines)).write({"machine": machine(session.config)})


def machine(config: pytest.Config) -> dict[str, Any]:
    """What explains a timing; not the host's name."""
    info: dict[str, Any] = config.hook.pytest_benchmark_generate_machine_info(config=config)
    info.pop("node", None)
    info["torch"] = torch.__version__
    info["threads"] = torch.get_num_threads()
    info["cores"] = os.cpu_count()
    info["extension"] = {k: str(v) for k, v in ops.build_info().items()}
    if torch.cuda.is_available():
        info["gpu"] = torch.cuda.get_device_name()
    return info


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Put a benchmark's result into its test's report, which is on the disk at once."""
    report = yield
    fixture = getattr(item, "funcargs", {}).get("benchmark")
    if call.when == "call" and report.passed and fixture is not None and fixture.stats:
        result = {
            "group": fixture.group,
            "extra_info": fixture.extra_info,
            "stats": {"min": fixture.stats.stats.min},
        }
        report.user_properties.append(("benchmark", result))
    return report
