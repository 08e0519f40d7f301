"""The events in which a session says where it stands."""

from __future__ import annotations

import os
import platform
import time

import torch

from lae_fast.models import LAE
from lae_fast.runs.events import Evaluated, Message, RunFinished, RunStarted
from lae_fast.train.looks import Look
from lae_fast.train.session import Session
from lae_fast.train.watching.validate import Validation


def started(session: Session) -> RunStarted:
    """What is trained, where, and how."""
    model, config = session.model, session.config
    phi = model.phi.numel() if isinstance(model, LAE) else 0
    return RunStarted(
        time=time.time(),
        run=str(session.run),
        model=config.model,
        pid=os.getpid(),
        host=platform.node(),
        device=_device_name(session.device, session.worker.ranks.size),
        engine=session.trainer.description,
        train_images=len(session.worker.train_set),
        validation_images=len(session.validation_set),
        iterations_per_epoch=session.per_epoch,
        parameters=sum(p.numel() for p in model.parameters()) + phi,
        max_epochs=config.epochs,
        iteration=session.meter.iteration,
    )


def evaluated(
    session: Session, result: Validation, loss: float, *, best: bool, look: Look
) -> Evaluated:
    """How the model does after an epoch; ``loss`` is its validation loss."""
    meter, check = session.meter, look.check
    return Evaluated(
        time=time.time(),
        epoch=meter.epoch,
        iteration=meter.iteration,
        train_loss=meter.over_epoch.of("loss"),
        val_loss=loss,
        val_reconstruction=result.reconstruction,
        val_prior=result.prior,
        accept_rate=meter.over_epoch.of("accept_rate"),
        accept_prob=meter.over_epoch.of("accept_prob"),
        step_size=session.control.step_size,
        latent_std=tuple(result.latents.std(0, correction=0).tolist()),
        best=best,
        elapsed=meter.elapsed,
        ess_per_step=None if check is None else check.ess_per_step,
        split_rhat=None if check is None else check.split_rhat,
        snapshot=look.snapshot,
    )


def finished(session: Session, status: str | None) -> RunFinished:
    """How the run ended, and its best epoch."""
    meter, keeper = session.meter, session.keeper
    return RunFinished(
        time=time.time(),
        status=status or "failed",
        epochs=meter.epoch,
        iterations=meter.iteration,
        train_loss=meter.over_epoch.of("loss"),
        val_loss=keeper.best_loss,
        best_epoch=keeper.best_epoch,
        accept_rate=meter.over_epoch.of("accept_rate"),
        step_size=session.control.step_size,
        images_per_second=meter.images_per_second,
        elapsed=meter.elapsed,
    )


def warning(text: str) -> Message:
    """A line that viewers show as a warning."""
    return Message(time=time.time(), level="warning", text=text)


def _device_name(device: torch.device, ranks: int) -> str:
    times = f"{ranks} x " if ranks > 1 else ""
    if device.type == "cuda":
        return times + torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"{times}cpu ({threads} thread{'s' if threads > 1 else ''})"
