from __future__ import annotations

from pathlib import Path

import pytest

from helpers import small_runs


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one run, ``small``, of a model that is not trained."""
    folder = tmp_path_factory.mktemp("runs")
    small_runs.untrained(folder, latent_dim=2, name="small")
    return folder
