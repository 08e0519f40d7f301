"""How the tests lie: in folders named after what they test, and each file on its own."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from helpers.command_line import ROOT

TESTS = ROOT / "tests"
FILES = sorted(TESTS.rglob("test_*.py"))


def imported(file: Path) -> set[str]:
    """Every module that the file names in an import, also inside functions."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def test_no_test_file_imports_another() -> None:
    """What several files use is in ``helpers``."""
    names = {file.stem for file in FILES}
    assert "test_tree" in names
    for file in FILES:
        for module in imported(file):
            assert not names & set(module.split(".")), f"{file.relative_to(TESTS)}: {module}"


@pytest.mark.skipif(not (ROOT / "csrc").is_dir(), reason="the sources are not here")
def test_every_folder_of_tests_mirrors_one_of_the_sources() -> None:
    folders = {file.parent.relative_to(TESTS) for file in FILES} - {Path()}
    assert Path("cli/dashboard") in folders
    for folder in folders:
        first, *rest = folder.parts
        source = (
            ROOT / "cli/lae_cli" / Path(*rest) if first == "cli" else ROOT / "lae_fast" / folder
        )
        assert source.is_dir() or (ROOT / folder).is_dir(), f"tests/{folder} mirrors nothing"
