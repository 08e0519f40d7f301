"""Run folders that look like real ones, written without a trainer, always the same."""

from __future__ import annotations

import json
import math
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from lae_fast import runs
from lae_fast.config import TrainConfig
from lae_fast.runs.events import (
    CommandTaken,
    Evaluated,
    Event,
    Message,
    Progress,
    RunFinished,
    RunStarted,
)

NOW = 1_700_000_000.0
"""What time it is in these stories: 2023-11-14 22:13 UTC."""
PER_EPOCH = 20


def write_run(
    root: Path,
    name: str,
    *,
    status: str | None = "finished",
    model: str = "lae",
    epochs: int = 6,
    began: float = NOW - 7200,
    seed: int = 0,
    host: str = "elsewhere",
    pid: int = 1,
    **settings: Any,
) -> Path:
    """A run of ``epochs`` epochs, one second per iteration; goes on when ``status`` is None."""
    config = TrainConfig(name=name, model=model, seed=seed, **({"latent_dim": 2} | settings))
    run = root / name
    run.mkdir(parents=True)
    runs.write_config(run, config)
    most = epochs if status else 2 * epochs
    say(run, started(began, most, run=name, model=model, host=host, pid=pid))
    say(run, *_events(run, config, epochs, began))
    if status is not None:
        chainless = {} if model == "lae" else {"accept_rate": math.nan, "step_size": math.nan}
        say(run, finished(began, epochs, seed=seed, status=status, **chainless))
    return run


# Events of one story. ``change`` replaces fields.


def started(began: float = NOW, most: int = 3, **change: Any) -> RunStarted:
    event = RunStarted(
        time=began,
        run="r",
        model="lae",
        pid=1,
        host="elsewhere",
        device="cpu (2 threads)",
        engine="explicit MLP backward",
        train_images=54000,
        validation_images=6000,
        iterations_per_epoch=PER_EPOCH,
        parameters=669_712,
        max_epochs=most,
    )
    return replace(event, **change)


def finished(began: float = NOW, epochs: int = 3, *, seed: int = 0, **change: Any) -> RunFinished:
    count = epochs * PER_EPOCH
    event = RunFinished(
        time=began + count + 1,
        status="finished",
        epochs=epochs,
        iterations=count,
        train_loss=_loss(count, seed),
        val_loss=_loss(count, seed) + 2,
        best_epoch=epochs,
        accept_rate=0.61,
        step_size=9.1e-4,
        images_per_second=8123.0,
        elapsed=count + 1.0,
    )
    return replace(event, **change)


def progress(
    iteration: int, began: float = NOW, *, chain: bool = True, seed: int = 0, **change: Any
) -> Progress:
    wobble = math.sin(iteration * 1.7 + seed)
    accept = 0.574 + 0.4 * math.exp(-iteration / 30) * math.cos(iteration / 7) + 0.03 * wobble
    event = Progress(
        time=began + iteration,
        epoch=(iteration - 1) // PER_EPOCH + 1,
        iteration=iteration,
        train_loss=_loss(iteration, seed) + 2 * wobble,
        accept_rate=accept if chain else math.nan,
        accept_prob=accept if chain else math.nan,
        step_size=1e-3 * (1 + 0.5 * math.cos(iteration / 25)),
        grad_norm=40 + 4 * wobble,
        images_per_second=8000 + 300 * wobble,
        steps_per_second=780 + 30 * wobble,
        seconds_left=600.0,
        elapsed=float(iteration),
        memory_bytes=512 << 20,
        cpu_cores=1.8 + 0.1 * wobble,
    )
    return replace(event, **change)


def evaluated(
    epoch: int, began: float = NOW, config: TrainConfig | None = None, **change: Any
) -> Evaluated:
    config = config or TrainConfig()
    iteration = epoch * PER_EPOCH
    now = progress(iteration, began, chain=config.model == "lae", seed=config.seed)
    event = Evaluated(
        time=now.time + 0.5,
        epoch=epoch,
        iteration=iteration,
        train_loss=now.train_loss,
        val_loss=_loss(iteration, config.seed) + 2,
        val_reconstruction=_loss(iteration) - 3,
        val_prior=5.0,
        accept_rate=now.accept_rate,
        accept_prob=now.accept_prob,
        step_size=now.step_size,
        latent_std=(1.0,) * config.latent_dim,
        best=True,
        elapsed=now.elapsed,
        ess_per_step=0.02 * epoch if config.model == "lae" else None,
        split_rhat=1 + 0.3 / epoch if config.model == "lae" else None,
    )
    return replace(event, **change)


def _events(run: Path, config: TrainConfig, epochs: int, began: float) -> list[Event]:
    chain = config.model == "lae"
    events: list[Event] = [Message(time=began + 1, level="info", text="54000 images")]
    for epoch in range(1, epochs + 1):
        first = (epoch - 1) * PER_EPOCH + 1
        events += [
            progress(first + step, began, chain=chain, seed=config.seed)
            for step in range(PER_EPOCH)
        ]
        name = f"snapshots/{epoch:06}.npz"
        write_snapshot(run / name, epoch, config.latent_dim, config.seed)
        events.append(evaluated(epoch, began, config, snapshot=name))
    return events


def _loss(iteration: int, seed: int = 0) -> float:
    return 95 + 5 * seed + 450 * math.exp(-iteration / 18)


def write_snapshot(path: Path, epoch: int, dim: int, seed: int = 0) -> None:
    rng = np.random.default_rng(seed)
    path.parent.mkdir(exist_ok=True)
    labels = rng.integers(0, 10, 600)
    centres = 1.5 * rng.normal(size=(10, dim))
    latents = centres[labels] * min(1.0, epoch / 5) + 0.35 * rng.normal(size=(600, dim))
    images = np.stack([_digit(place) for place in range(8)])
    np.savez(
        path,
        latents=latents.astype(np.float32),
        labels=labels,
        originals=images,
        reconstructions=images // 2 + 20,
        prior_samples=images[::-1],
        interpolation=images,
        traversal=np.stack([images] * min(dim, 3)),
    )


def _digit(place: int) -> Any:
    """A bright ring, thicker from one to the next, (1, 28, 28) uint8."""
    y, x = np.mgrid[-1:1:28j, -1:1:28j]
    ring = np.exp(-(((np.hypot(x, y) - 0.6) / (0.06 + 0.03 * place)) ** 2))
    return (255 * ring[None]).astype(np.uint8)


def answer(run: Path, command: str, text: str, *, accepted: bool = True) -> None:
    """What a trainer says when it has taken a command."""
    with runs.RunWriter(run) as log:
        log.append(CommandTaken(time=time.time(), command=command, accepted=accepted, text=text))


def say(run: Path, *events: Event) -> None:
    """More events in a run's log."""
    with runs.RunWriter(run) as log:
        for event in events:
            log.append(event)


def edit_config(run: Path, **values: Any) -> None:
    """Other settings in a run's config.json, whether or not they make sense."""
    file = run / runs.CONFIG_FILE
    file.write_text(json.dumps(json.loads(file.read_text()) | values))
