"""A pytest plugin for runs that may end early: what has run is on the disk, whatever ends the run.

    python -m pytest -p benchmarks.budget --lines FILE --until UNIX_TIME --on cuda -m cuda

``--lines`` appends a JSON line as a test begins, ``{"test", "began"}``, and one as it ends,
``{"test", "outcome", "seconds", "message", "properties"}``; `read_lines` reads them. Before all of
them stands how many there will be, ``{"tests"}``.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Iterable
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

import pytest

LEFT_OUT = "left out: no time was left"
"""Why a test that ``--until`` came before is skipped."""


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("budget", "runs of limited time")
    group.addoption("--lines", metavar="FILE", help="append a JSON line as each test ends")
    group.addoption("--until", type=float, metavar="UNIX_TIME", help="begin no test after that")
    group.addoption("--on", choices=("cuda", "emulated"), help="only tests on that device")
    group.addoption("--spread", action="store_true", help="every test's first case, then the rest")


def pytest_configure(config: pytest.Config) -> None:
    lines = config.getoption("--lines")
    if lines and not hasattr(config, "workerinput"):  # xdist's controller hears of every test
        config.pluginmanager.register(Lines(Path(lines)))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    wanted = config.getoption("--on")
    if wanted:
        left_out = [item for item in items if device_of(item) != wanted]
        items[:] = [item for item in items if device_of(item) == wanted]
        config.hook.pytest_deselected(items=left_out)
    if config.getoption("--spread"):
        items[:] = spread(items)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    until = item.config.getoption("--until")
    if until is not None and time.time() > until:
        pytest.skip(LEFT_OUT)


def device_of(item: pytest.Item) -> str:
    """Where a test runs its tensors: what its fixtures or its marks say."""
    parameters = getattr(getattr(item, "callspec", None), "params", {})
    if "emulated" in getattr(item, "fixturenames", ()):
        return "emulated"
    marked = "cuda" if item.get_closest_marker("cuda") else "cpu"
    return str(parameters.get("device", marked))


def spread(items: list[pytest.Item]) -> list[pytest.Item]:
    """The first case of every test function, then the second of each, and so on."""
    functions: dict[str, list[pytest.Item]] = defaultdict(list)
    for item in items:
        functions[item.nodeid.split("[")[0]].append(item)
    turns = chain.from_iterable(zip_longest(*functions.values()))
    return [item for item in turns if item is not None]


class Lines:
    """Writes what is known of each test, one line at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, line: dict[str, Any]) -> None:
        """Append a line; it is on the disk when this returns."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self.write({"tests": len(session.items)})

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.write({"test": nodeid, "began": time.time()})

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when != "call" and report.passed:
            return
        self.write(
            {
                "test": report.nodeid,
                "outcome": report.outcome,
                "seconds": report.duration,
                "message": last_words(report),
                "properties": dict(report.user_properties),
            }
        )


def last_words(report: pytest.TestReport) -> str:
    """Why a test failed or was skipped, in one line; empty where it passed."""
    if report.skipped and isinstance(report.longrepr, tuple):
        return str(report.longrepr[2]).removeprefix("Skipped: ")
    crash = getattr(report.longrepr, "reprcrash", None)
    text = str(crash.message if crash else report.longrepr or "")
    return next((line for line in text.splitlines() if line.strip()), "")


def read_lines(path: Path) -> list[dict[str, Any]]:
    """What a file says of each test, without a line that was being written when the run ended."""
    if not path.exists():
        return []
    return list(_readable(path.read_text(encoding="utf-8", errors="replace").splitlines()))


def _readable(lines: Iterable[str]) -> Iterable[dict[str, Any]]:
    for line in lines:
        try:
            found = json.loads(line)
        except ValueError:
            continue
        if isinstance(found, dict) and "test" in found:
            yield found
