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

import numpy as np

from lae_fast import runs
from lae_fast.config import TrainConfig
from lae_fast.errors import TrainingError
from lae_fast.runs.events import Evaluated, Event, Message, Progress, RunFinished, RunStarted


class StopRequest:
    def __init__(self) -> None:
        self.reason: str | None = None

    def request(self, reason: str) -> None:
        self.reason = reason


ITERATIONS = 20
PAUSE = float(os.environ.get("FAKE_PAUSE", "0"))


def train(
    config: TrainConfig, *, stop: StopRequest, resume: Path | None = None, ranks: object = None
) -> Iterator[Event]:
    run = resume or runs.create(config.run_root, config.name, config.dataset)
    runs.write_config(run, config)
    (run / "snapshots").mkdir(exist_ok=True)
    began = time.time()
    with runs.RunWriter(run) as writer:
        for event in _events(config, stop, run, began):
            writer.append(event)
            yield event
    if config.temperature == 666:
        raise TrainingError("the loss is not finite at iteration 7; try a smaller --step-size")


def _events(config: TrainConfig, stop: StopRequest, run, began: float) -> Iterator[Event]:
    rng = np.random.default_rng(config.seed)
    yield RunStarted(
        time=began,
        run=run.name,
        model="lae",
        pid=os.getpid(),
        host=socket.gethostname(),
        device="cpu",
        engine="fast MLP",
        train_images=54000,
        validation_images=6000,
        iterations_per_epoch=ITERATIONS,
        parameters=669_712,
        max_epochs=config.epochs,
    )
    yield Message(time=time.time(), level="info", text="[bold]not markup[/] \x1b[31m")
    centres, iteration, loss, done = rng.normal(size=(10, config.latent_dim)) * 3, 0, 500.0, 0
    for epoch in range(1, config.epochs + 1):
        for _ in range(ITERATIONS):
            time.sleep(PAUSE)
            iteration += 1
            loss = 95 + 400 * math.exp(-iteration / 60) + rng.normal()
            yield Progress(
                time=time.time(),
                epoch=epoch,
                iteration=iteration,
                train_loss=loss,
                accept_rate=_accept(iteration) if config.mh else 1.0,
                accept_prob=_accept(iteration),
                step_size=1e-3 * 0.99**iteration,
                grad_norm=20 * math.exp(-iteration / 200),
                images_per_second=12345.6,
                steps_per_second=1205.0,
                seconds_left=(config.epochs * ITERATIONS - iteration) * PAUSE,
                elapsed=time.time() - began,
                memory_bytes=512 << 20,
            )
            if stop.reason:
                break
        if stop.reason:
            break
        done = epoch
        name = f"snapshots/epoch-{epoch:04}.npz"
        labels = rng.integers(0, 10, 1000)
        spread = 3.0 / math.sqrt(epoch)
        latents = centres[labels] + spread * rng.normal(size=(1000, config.latent_dim))
        images = np.zeros((8, 1, 28, 28), np.uint8)
        images[:, :, 4:24, 8:20] = np.linspace(60, 255, 20, dtype=np.uint8)[:, None]
        np.savez(
            run / name,
            latents=latents.astype(np.float32),
            labels=labels,
            originals=images,
            reconstructions=images // 2,
        )
        yield Evaluated(
            time=time.time(),
            epoch=epoch,
            iteration=iteration,
            train_loss=loss,
            val_loss=loss + 2,
            val_reconstruction=loss - 4,
            val_prior=6.0,
            accept_rate=_accept(iteration),
            accept_prob=_accept(iteration),
            step_size=1e-3,
            latent_std=(1.0,) * config.latent_dim,
            best=True,
            elapsed=time.time() - began,
            snapshot=name,
        )
    yield RunFinished(
        time=time.time(),
        status=stop.reason or "finished",
        epochs=done,
        iterations=iteration,
        train_loss=float("nan") if config.temperature == 666 else loss,
        val_loss=loss + 2,
        best_epoch=done,
        accept_rate=_accept(iteration),
        step_size=1e-3,
        images_per_second=12345.6,
        elapsed=time.time() - began,
    )


def _accept(iteration: int) -> float:
    return 0.574 + 0.4 * math.exp(-iteration / 50) * math.cos(iteration / 9)


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
