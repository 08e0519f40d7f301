"""The notebooks run from top to bottom, with trainings cut short."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.command_line import ROOT, SOURCES

pytestmark = pytest.mark.skipif(
    not (ROOT / "examples").is_dir(), reason="the notebooks are not here"
)
NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))


@pytest.mark.slow
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.name)
def test_notebook_runs(notebook: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    for name, value in {**SOURCES, "LAE_MAX_TIME": "0.5", "LAE_DEVICE": "cpu"}.items():
        monkeypatch.setenv(name, value)
    cells = nbformat.read(notebook, as_version=4)
    resources = {"metadata": {"path": str(tmp_path)}}
    done = nbclient.NotebookClient(cells, timeout=240, resources=resources).execute()
    shown = [out for cell in done.cells if cell.cell_type == "code" for out in cell.outputs]
    assert any("data:image/png" in out.get("data", {}).get("text/html", "") for out in shown)


def test_notebooks_are_kept_without_their_outputs() -> None:
    nbformat = pytest.importorskip("nbformat")
    assert NOTEBOOKS
    for notebook in NOTEBOOKS:
        for cell in nbformat.read(notebook, as_version=4).cells:
            assert not cell.get("outputs")
