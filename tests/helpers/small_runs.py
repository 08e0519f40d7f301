"""Run folders with small models, as a training leaves them, without training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from lae_fast import data, runs
from lae_fast.config.settings import from_dict
from lae_fast.models.build import build_model
from lae_fast.runs import checkpoint
from lae_fast.train import train


def untrained(root: Path, **settings: Any) -> Path:
    """A run folder whose checkpoint holds the model as it is initialised."""
    config = from_dict({"run_root": str(root), "hidden": 32} | settings)
    run = runs.create(config.run_root, config.name, config.dataset)
    runs.write_config(run, config)
    shape = data.load(config.dataset, config.data_dir).train.image_shape
    model = build_model(config, shape)
    about = {"config": config.to_dict(), "image_shape": shape}
    checkpoint.write(run, "best", model.state_dict(), about)
    return run


def trained(root: Path, **settings: Any) -> Path:
    """A run folder after a few epochs of training."""
    short = {"run_root": str(root), "hidden": 64, "epochs": 5, "learning_rate": 1e-3}
    config = from_dict(short | {"batch_size": 128, "device": "cpu"} | settings)
    torch.set_num_threads(1)
    started, *_ = train(config)
    return Path(started.run)  # type: ignore[union-attr]
