"""A stand-in for `lae_fast.train`: plausible events without torch.

As a script, it runs the command line with itself in the trainer's place.
"""

from __future__ import annotations

import math
import os
import socket
import sys
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # as a script it has to find its neighbours

from helpers.run_folders import (
    PER_EPOCH,
    evaluated,
    finished,
    progress,
    started,
    write_snapshot,
)
from lae_fast import runs
from lae_fast.config import TrainConfig
from lae_fast.errors import TrainingError
from lae_fast.runs.events import Event, Message


class StopRequest:
    def __init__(self) -> None:
        self.reason: str | None = None

    def request(self, reason: str) -> None:
        self.reason = reason


PAUSE = float(os.environ.get("FAKE_PAUSE", "0"))


def train(
    config: TrainConfig, *, stop: StopRequest, resume: Path | None = None, ranks: object = None
) -> Iterator[Event]:
    run = resume or runs.create(config.run_root, config.name, config.dataset)
    runs.write_config(run, config)
    began = time.time()
    with runs.RunWriter(run) as writer:
        for event in _events(config, stop, run, began):
            writer.append(event)
            yield event
    if config.temperature == 666:
        raise TrainingError("the loss is not finite at iteration 7; try a smaller --step-size")


def _events(config: TrainConfig, stop: StopRequest, run: Path, began: float) -> Iterator[Event]:
    facts = {"run": run.name, "pid": os.getpid(), "host": socket.gethostname()}
    yield started(began, config.epochs, device="cpu", engine="fast MLP", **facts)
    yield Message(time=time.time(), level="info", text="[bold]not markup[/] \x1b[31m")
    rates = {} if config.mh else {"accept_rate": 1.0}
    iteration = 0
    for epoch in range(1, config.epochs + 1):
        for _ in range(PER_EPOCH):
            time.sleep(PAUSE)
            iteration += 1
            left = (config.epochs * PER_EPOCH - iteration) * PAUSE
            clock = {"time": time.time(), "elapsed": time.time() - began}
            yield progress(iteration, seed=config.seed, seconds_left=left, **rates, **clock)
            if stop.reason:
                break
        if stop.reason:
            break
        name = f"snapshots/epoch-{epoch:04}.npz"
        write_snapshot(run / name, epoch, config.latent_dim, config.seed)
        yield evaluated(epoch, config=config, snapshot=name, **clock)
    yield finished(
        epochs=iteration // PER_EPOCH,
        seed=config.seed,
        status=stop.reason or "finished",
        **({"train_loss": math.nan} if config.temperature == 666 else {}),
        **clock,
    )


def module(train: Callable[..., Iterator[Event]]) -> types.ModuleType:
    """A module to stand in the place of `lae_fast.train`."""
    made = types.ModuleType("lae_fast.train")
    vars(made).update(train=train, StopRequest=StopRequest, TrainingError=TrainingError)
    return made


def install() -> None:
    sys.modules["lae_fast.train"] = module(train)


if __name__ == "__main__":
    from lae_cli.main import main

    install()
    main()
