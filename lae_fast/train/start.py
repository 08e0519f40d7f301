"""What comes before the first iteration: data set, weights, run folder."""

from __future__ import annotations

from pathlib import Path

import torch

from lae_fast import data, runs
from lae_fast.config import TrainConfig
from lae_fast.errors import ConfigError, DataError
from lae_fast.models.build import check_networks
from lae_fast.ranks import Ranks
from lae_fast.runs import checkpoint
from lae_fast.train import state as saved_state
from lae_fast.train.session import Session


def load_data(config: TrainConfig, ranks: Ranks) -> data.Splits:
    """The data set, on every rank; the leader goes first, since it may download it.

    Raises:
        DataError, ConfigError: on the rank that met it.
        OtherRankError: on the others.
    """
    splits: data.Splits | None = None
    for turn in (True, False):
        error: Exception | None = None
        if ranks.leads is turn:
            try:
                splits = data.load(
                    config.dataset,
                    config.data_dir,
                    download=config.download,
                    validation=config.validation,
                    validation_fraction=config.validation_fraction,
                )
                check_networks(config, splits.train.image_shape, len(splits.train.class_names))
            except (DataError, ConfigError) as problem:
                error = problem
        ranks.agree(error)
    assert splits is not None
    return splits


def make_session(
    config: TrainConfig,
    splits: data.Splits,
    device: torch.device,
    resume: Path | None,
    ranks: Ranks,
) -> Session:
    """A new run's session, or that of the run to continue.

    Raises:
        RunError, CheckpointError, ConfigError: no such run, nothing to read, or it does not fit.
    """
    state = saved_state.load(resume) if resume is not None else None
    weights = initial_weights(config)
    run = resume
    if run is None:
        run = runs.create(config.run_root, config.name, config.dataset, config.model)
        runs.write_config(run, config)
    session = Session(config, splits, device, run, weights, ranks)
    if state is not None:
        session.restore(state)
    return session


def initial_weights(config: TrainConfig) -> dict[str, torch.Tensor] | None:
    """The weights that ``init_from`` names.

    Raises:
        RunError, CheckpointError: no such run, or no weights in it.
    """
    if config.init_from is None:
        return None
    return checkpoint.read(runs.find(config.run_root, config.init_from), "best")[0]
