"""The whole state of a training on disk, so that a run continues bit for bit.

One safetensors file holds the model, the average of its weights, the optimiser's moments, and the
generators; its metadata holds, as JSON, everything that is a number: counters, means, step-size
control, early stopping. The order of the data and the noise are functions of the seed and those
counters. The file is replaced atomically and the one before it is kept, so a crash at any moment
leaves one to read.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lae_fast.errors import CheckpointError
from lae_fast.runs import checkpoint
from lae_fast.runs.checkpoint import PREVIOUS_STATE, STATE
from lae_fast.train.average import Average
from lae_fast.train.trainers.base import Trainer

_PREFIXES = ("model/", "average/", "optimizer/", "generator/")


@dataclass(frozen=True)
class State:
    """What `save` wrote: ``tensors`` by name, ``facts`` as plain values.

    ``problem`` says why it is the state before the newest; "" where it is the newest.
    """

    tensors: dict[str, Tensor]
    facts: dict[str, Any]
    problem: str = ""


def save(
    run: Path, model: nn.Module, trainer: Trainer, average: Average, facts: Mapping[str, Any]
) -> None:
    """Write the state of a training between two iterations."""
    averaged = {f"average/{name}": value for name, value in average.tensors().items()}
    everything = tensors(model, trainer) | averaged
    checkpoint.write_state(run, STATE, PREVIOUS_STATE, everything, dict(facts))


def tensors(model: nn.Module, trainer: Trainer) -> dict[str, Tensor]:
    """What an iteration changes: weights, the optimiser's moments, generators; by name."""
    weights = {f"model/{name}": value for name, value in model.state_dict().items()}
    drawing = {f"generator/{name}": value for name, value in generators(trainer).items()}
    return weights | _optimizer_tensors(trainer) | drawing


def load(run: Path) -> State | None:
    """The newest state of a run that can be read; None when none was written yet.

    Raises:
        CheckpointError: none can be read; the message says what is wrong with the newest.
    """
    if not any(
        os.path.lexists(run / "checkpoints" / f"{name}.safetensors")
        for name in (STATE, PREVIOUS_STATE)
    ):
        return None
    try:
        return State(*checkpoint.read_state(run, STATE))
    except CheckpointError as error:
        try:
            return State(*checkpoint.read_state(run, PREVIOUS_STATE), str(error))
        except CheckpointError:
            raise error from None


def restore(
    state: State, model: nn.Module, trainer: Trainer, average: Average | None = None
) -> None:
    """Put a state back into a model, a trainer and an average of the same configuration.

    Only the process that saves has an average.

    Raises:
        CheckpointError: it does not fit them.
    """
    try:
        model.load_state_dict(_under(state, "model/"))
        if average is not None and average.tensors():
            average.model.load_state_dict(_under(state, "average/"))
        for name in state.tensors:
            if not name.startswith(_PREFIXES):
                raise ValueError(f"it holds {name}")
        _restore_optimizer(state, trainer)
        restore_generators(_under(state, "generator/"), trainer)
    except (RuntimeError, AttributeError, KeyError, ValueError, IndexError, TypeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(
            f"the saved state does not fit the run's settings: {reason}"
        ) from error


def restore_generators(states: Mapping[str, Tensor], trainer: Trainer) -> None:
    """Restore what `generators` returned, and refuse anything else: the noise would differ."""
    current = generators(trainer)
    if states.keys() != current.keys():
        raise ValueError(
            f"it holds {', '.join(states) or 'no generator'} and the trainer has "
            f"{', '.join(current) or 'none'}; another version of this program wrote it"
        )
    for name, value in states.items():
        _require_like(name, value, current[name])
        current[name].copy_(value)


def _under(state: State, prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with ``prefix``, by the rest of their names."""
    return {k.removeprefix(prefix): v for k, v in state.tensors.items() if k.startswith(prefix)}


def _optimizer_tensors(trainer: Trainer) -> dict[str, Tensor]:
    moments = trainer.optimizer.state_dict()["state"]
    return {
        f"optimizer/{index}/{name}": value
        for index, values in moments.items()
        for name, value in values.items()
    }


def _restore_optimizer(state: State, trainer: Trainer) -> None:
    moments: dict[int, dict[str, Tensor]] = {}
    parameters = [p for group in trainer.optimizer.param_groups for p in group["params"]]
    for path, value in _under(state, "optimizer/").items():
        index, name = path.split("/")
        scalar = torch.zeros((), dtype=torch.float32)
        _require_like(path, value, scalar if name == "step" else parameters[int(index)])
        moments.setdefault(int(index), {})[name] = value
    for number, values in moments.items():
        if values.keys() != {"step", "exp_avg", "exp_avg_sq"}:
            raise ValueError(f"the moments of parameter {number} are {', '.join(values) or 'none'}")
    if trainer.optimizer.state_dict()["state"].keys() == moments.keys() != set():
        # In place: a captured iteration reads these very tensors.
        for number, values in moments.items():
            for name, value in values.items():
                trainer.optimizer.state[parameters[number]][name].copy_(value)
        return
    groups = trainer.optimizer.state_dict()["param_groups"]
    trainer.optimizer.load_state_dict({"state": moments, "param_groups": groups})


def _require_like(name: str, value: Tensor, like: Tensor) -> None:
    """PyTorch accepts moments of any shape, and then fails at the next step or broadcasts."""
    if value.shape != like.shape or value.dtype != like.dtype:
        raise ValueError(f"{name} is {value.dtype} of shape {tuple(value.shape)}")


def generators(trainer: Trainer) -> dict[str, Tensor]:
    """A trainer's counter-based generator, where it draws, by its name."""
    rng = getattr(trainer, "rng", None)
    return {} if rng is None else {"rng": rng}
