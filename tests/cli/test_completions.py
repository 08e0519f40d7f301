"""What a shell completes."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.shell_completion import ShellComplete

from helpers.run_folders import write_run
from lae_cli.main import lae


def completed(*words: str) -> list[str]:
    *before, incomplete = words
    found = ShellComplete(lae, {}, "lae", "_LAE_COMPLETE").get_completions(before, incomplete)
    return [item.value for item in found]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    write_run(tmp_path / "runs", "digits-one")
    write_run(tmp_path / "runs", "mnist-two")
    monkeypatch.chdir(tmp_path)
    return str(tmp_path / "runs")


@pytest.mark.parametrize(
    "words",
    [
        ["sample"],
        ["eval"],
        ["dash"],
        ["dash", "mnist-two"],
        ["runs", "show"],
        ["runs", "rm"],
        ["runs", "rename"],
        ["runs", "note"],
        ["train", "--resume"],
    ],
)
def test_runs(root: str, words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert completed(*words, "") == ["digits-one", "mnist-two", "latest"]
    assert completed(*words, "dig") == ["digits-one"]
    monkeypatch.setenv("LAE_RUN_ROOT", "elsewhere")
    assert completed(*words, "dig") == []
    assert completed(words[0], "--run-root", root, *words[1:], "dig") == (
        ["digits-one"] if words[0] != "runs" else []
    )


def test_studies_data_sets_and_themes() -> None:
    assert completed("experiment", "pro") == ["probe"]
    assert completed("reproduce", "--only", "pro") == ["probe"]
    assert completed("anomaly", "--against", "fash") == ["fashion-mnist"]
    assert completed("train", "--dataset", "fash") == ["fashion-mnist"]
    assert "nord" in completed("dash", "--theme", "no")
    assert "init" in completed("config", "")
