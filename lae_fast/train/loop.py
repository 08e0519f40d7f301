"""The training loop: one generator that trains, writes the run folder, and yields its events."""

from __future__ import annotations

import contextlib
import math
import os
import platform
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from lae_fast import runs
from lae_fast.config import TrainConfig
from lae_fast.devices import pick_device
from lae_fast.errors import RankLostError, TrainingError
from lae_fast.models import LAE
from lae_fast.ranks import ALONE, Ranks
from lae_fast.runs.events import Evaluated, Event, Message, RunFinished, RunStarted
from lae_fast.train.commands import CommandTaker
from lae_fast.train.determinism import deterministic
from lae_fast.train.lockstep import follow, lead_away, lead_state
from lae_fast.train.looks import Looks
from lae_fast.train.session import Session
from lae_fast.train.start import load_data, make_session
from lae_fast.train.watching.validate import validate
from lae_fast.train.worker import Worker

MOST_RESTARTS = 3


@dataclass
class StopRequest:
    """Asks a running `train` to end after the current iteration, weights saved."""

    reason: str | None = None

    def request(self, reason: str = "interrupted") -> None:
        """``reason`` becomes the status of the run."""
        self.reason = reason


def train(
    config: TrainConfig,
    stop: StopRequest | None = None,
    *,
    resume: Path | None = None,
    ranks: Ranks = ALONE,
) -> Iterator[Event]:
    """Train the model of a configuration; every event is on disk before it is yielded.

    The first event is `RunStarted`, whose ``run`` is the path of the run folder; the last is
    `RunFinished`.

    Args:
        config: what to train; when resuming, the run's own settings (`resumed_config`).
        stop: asks for an early end.
        resume: a run folder to continue from its last saved state, or from the start if it has
            none yet. On the same machine with the same number of threads the result is, bit for
            bit, that of a run never interrupted.
        ranks: the processes that share each batch, from `lae_fast.ranks.join`. Rank 0 yields the
            events; all others train with it and yield nothing.

    Raises:
        DataError, RunError, ConfigError, CheckpointError: before anything is written.
        TrainingError: numerical failure, after `RunFinished` with status ``failed``.
        RankLostError: another process died; the same, and the state is saved.
    """
    with deterministic(config.deterministic):
        yield from _train(config, stop or StopRequest(), resume, ranks)


def _train(
    config: TrainConfig, stop: StopRequest, resume: Path | None, ranks: Ranks
) -> Iterator[Event]:
    device = pick_device(config.device)
    splits = load_data(config, ranks)
    if not ranks.leads:
        follow(Worker(config, splits, device, ranks))
        return
    try:
        session = make_session(config, splits, device, resume, ranks)
        with runs.RunWriter(session.run) as log:
            lead_state(session.worker)
            training = _Training(session, stop)
            yield from _logged(training.events(), log)
    finally:
        lead_away(ranks)
    if training.failure is not None:
        raise training.failure


def _logged(events: Iterator[Event], log: runs.RunWriter) -> Iterator[Event]:
    """Events, each on the disk before it is passed on."""
    try:
        for event in events:
            log.append(event)
            yield event
    except BaseException:
        # What was learned is still saved, where that is possible; where not, the first error is
        # the one to tell. Left to the interpreter, the second would be a traceback on stderr.
        with contextlib.suppress(OSError, runs.RunError):
            events.close()  # type: ignore[attr-defined]
        raise


class _Training:
    """One run as a stream of events."""

    def __init__(self, session: Session, stop: StopRequest) -> None:
        self.session, self.stop = session, stop
        self.config, self.meter, self.keeper = session.config, session.meter, session.keeper
        self.commands = CommandTaker(session.run, session.keeper, session.control)
        self.looks = Looks(session)
        self.failure: TrainingError | RankLostError | None = None
        self.status: str | None = None
        self.restarts = 0
        self.engine = session.trainer.description

    def events(self) -> Iterator[Event]:
        """Everything that happens, from `RunStarted` to `RunFinished`."""
        yield self._started()
        if self.meter.iteration and self.session.between_epochs:
            self.status = self._verdict()
        try:
            while self.status is None:
                try:
                    yield from self._epoch()
                    yield from self._evaluate()
                except TrainingError as error:
                    yield self._after_failure(error)
                except RankLostError as error:
                    self.session.save()
                    yield self._failed(error)
        finally:
            # Also when the consumer goes away: what was learned is never lost.
            self.keeper.flush()
        yield self._finished()

    def _after_failure(self, error: TrainingError) -> Message:
        """Restart from the last saved state where that was asked for and helps; else give up."""
        wanted = self.config.on_divergence == "restart" and self.restarts < MOST_RESTARTS
        if wanted and self.session.go_back():
            self.restarts += 1
            return _warning(
                f"{error}; restarted from iteration {self.meter.iteration} with step size "
                f"{self.session.control.step_size:.3g}"
            )
        return self._failed(error)

    def _failed(self, error: TrainingError | RankLostError) -> Message:
        self.failure, self.status = error, "failed"
        return Message(time=time.time(), level="error", text=str(error))

    def _epoch(self) -> Iterator[Event]:
        session, meter = self.session, self.meter
        if session.between_epochs:
            meter.start_epoch()
        while session.batches_done < session.per_epoch:
            stats = session.iteration()
            yield from self._new_engine()
            yield from map(_warning, session.watch.iteration(stats))
            if meter.due():
                yield meter.progress(session.control.step_size)
            yield from self.commands.poll(lambda: self.stop.reason is not None)
            session.trainer.step_size = session.control.step_size
            self.status = self._stop_reason()
            if session.batches_done < session.per_epoch:
                self._save()
            if self.status is not None:
                break
        if meter.recent.iterations:
            yield meter.progress(session.trainer.step_size)

    def _new_engine(self) -> Iterator[Event]:
        """A word when another path computes iterations than before."""
        engine = self.session.trainer.description
        if engine != self.engine:
            self.engine = engine
            yield _warning(f"from here on: {engine}")

    def _stop_reason(self) -> str | None:
        if self.stop.reason is not None:
            return self.stop.reason
        if self.commands.stop_now:
            return "stopped"
        limit = self.config.max_time
        return "time-limit" if limit is not None and self.meter.elapsed >= limit else None

    def _evaluate(self) -> Iterator[Event]:
        session, config, meter = self.session, self.config, self.meter
        result = validate(session.model, session.validation_set, seed=config.seed)
        val_loss = result.reconstruction + (result.prior if config.prior else 0.0)
        train_loss = meter.over_epoch.of("loss")
        warnings = list(session.watch.evaluation(train_loss, result.latent_gain))
        best = self._record(val_loss)
        snapshot, check = self.looks.take(result.latents, now=self.status is not None)
        yield Evaluated(
            time=time.time(),
            epoch=meter.epoch,
            iteration=meter.iteration,
            train_loss=train_loss,
            val_loss=val_loss,
            val_reconstruction=result.reconstruction,
            val_prior=result.prior,
            accept_rate=meter.over_epoch.of("accept_rate"),
            accept_prob=meter.over_epoch.of("accept_prob"),
            step_size=session.trainer.step_size,
            latent_std=tuple(result.latents.std(0, correction=0).tolist()),
            best=best,
            elapsed=meter.elapsed,
            ess_per_step=None if check is None else check.ess_per_step,
            split_rhat=None if check is None else check.split_rhat,
            snapshot=snapshot,
        )
        yield from map(_warning, warnings)
        # Only now, or the epoch would be told of never, or twice.
        if self.session.batches_done == self.session.per_epoch:
            self._save()

    def _save(self) -> None:
        """Write the state if it is due, was asked for, or is the last."""
        self.session.save(if_due=self.status is None and not self.commands.save_now)
        self.commands.save_now = False

    def _record(self, val_loss: float) -> bool:
        """Take in an epoch's loss, see whether it was the last; whether it is the best so far.

        An epoch cut short is evaluated for the reader, but is no part of what a resumed run builds
        on; its weights are the best only where there are no others.
        """
        if self.session.batches_done < self.session.per_epoch:
            return math.isnan(self.keeper.best_loss) and self.keeper.record(
                self.meter.epoch, val_loss
            )
        best = self.keeper.record(self.meter.epoch, val_loss)
        if self.status is None:
            self.status = self._verdict()
        return best

    def _verdict(self) -> str | None:
        """Why training ends with this epoch, if it does."""
        if self.commands.stop_after_epoch:
            return "stopped"
        if self.meter.epoch >= self.config.epochs:
            return "finished"
        patience = self.config.patience
        return "stopped-early" if patience and self.keeper.stale >= patience else None

    def _started(self) -> RunStarted:
        session, model = self.session, self.session.model
        phi = model.phi.numel() if isinstance(model, LAE) else 0
        return RunStarted(
            time=time.time(),
            run=str(session.run),
            model=self.config.model,
            pid=os.getpid(),
            host=platform.node(),
            device=_device_name(session.device, session.worker.ranks.size),
            engine=session.trainer.description,
            train_images=len(session.worker.train_set),
            validation_images=len(session.validation_set),
            iterations_per_epoch=session.per_epoch,
            parameters=sum(p.numel() for p in model.parameters()) + phi,
            max_epochs=self.config.epochs,
            iteration=self.meter.iteration,
        )

    def _finished(self) -> RunFinished:
        means = self.meter.over_epoch
        return RunFinished(
            time=time.time(),
            status=self.status or "failed",
            epochs=self.meter.epoch,
            iterations=self.meter.iteration,
            train_loss=means.of("loss"),
            val_loss=self.keeper.best_loss,
            best_epoch=self.keeper.best_epoch,
            accept_rate=means.of("accept_rate"),
            step_size=self.session.trainer.step_size,
            images_per_second=self.meter.images_per_second,
            elapsed=self.meter.elapsed,
        )


def _warning(text: str) -> Message:
    return Message(time=time.time(), level="warning", text=text)


def _device_name(device: torch.device, ranks: int) -> str:
    times = f"{ranks} x " if ranks > 1 else ""
    if device.type == "cuda":
        return times + torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"{times}cpu ({threads} thread{'s' if threads > 1 else ''})"
