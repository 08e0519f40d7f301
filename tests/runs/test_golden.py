"""Run folders of earlier formats still load, are shown, are evaluated and go on."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lae_fast import runs
from lae_fast.analysis.evaluate import importance_sampled
from lae_fast.analysis.saved import held_out_images, open_run
from lae_fast.config.settings import resumed
from lae_fast.errors import CheckpointError
from lae_fast.runs import checkpoint
from lae_fast.runs.events import Evaluated, RunFinished, RunStarted
from lae_fast.train import train

GOLDEN = Path(__file__).parents[1] / "golden"
FOLDERS = sorted(GOLDEN.glob("*/*"))
"""FORMAT/RUN, from tests/tools/golden_runs.py."""


def test_there_are_folders_of_every_format() -> None:
    formats = {int(path.parent.name) for path in FOLDERS}
    assert formats == set(range(1, checkpoint.FORMAT_VERSION + 1))


@pytest.mark.parametrize("path", FOLDERS, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_a_run_of_its_format(path: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(path, run)
    summary = runs.summarise(run)
    assert (summary.status, summary.skipped) == ("interrupted", 0)
    best = open_run(run, device="cpu")
    images = held_out_images(best.config).first(20)
    assert torch.isfinite(importance_sampled(best.model, images, samples=10).nll).all()

    config = replace(resumed(runs.read_config(run), {}), run_root=str(tmp_path))
    started, *between, finished = train(config, resume=run)
    assert isinstance(started, RunStarted)
    assert isinstance(finished, RunFinished)
    assert (finished.status, finished.epochs) == ("finished", 4)
    assert started.iteration > 0
    assert [event.epoch for event in between if isinstance(event, Evaluated)] == [3, 4]
    assert checkpoint.has_digest(run / "checkpoints" / "state.safetensors")


def test_a_newer_format_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "FORMAT_VERSION", checkpoint.FORMAT_VERSION + 1)
        checkpoint.write(tmp_path, "best", {"a": torch.zeros(2)}, {})
        checkpoint.write_state(tmp_path, "state", "previous", {"a": torch.zeros(2)}, {})
    with pytest.raises(CheckpointError, match="newer version"):
        checkpoint.read(tmp_path)
    with pytest.raises(CheckpointError, match="newer version"):
        checkpoint.read_state(tmp_path, "state")
    about = tmp_path / "checkpoints" / "best.json"
    assert json.loads(about.read_text())["format"] == checkpoint.FORMAT_VERSION + 1
