"""The training loop: one generator that trains, writes the run folder, and yields its events."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from lae_fast import runs
from lae_fast.config import TrainConfig
from lae_fast.errors import ConfigError, RankLostError, TrainingError
from lae_fast.models.own import Networks
from lae_fast.ops.devices import pick_device
from lae_fast.ranks import ALONE, Ranks
from lae_fast.runs.events import Event, Message, RunFinished
from lae_fast.train import reports
from lae_fast.train.commands import CommandTaker
from lae_fast.train.determinism import deterministic
from lae_fast.train.lockstep import announced, dismiss, follow, share_state
from lae_fast.train.looks import Looks
from lae_fast.train.session import Session, load_data, open_session
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
    networks: Networks | None = None,
) -> Iterator[Event]:
    """Train the model of a configuration; every event is written before it is yielded.

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
        networks: of the user's, trained in place; None trains the run folder's copy of them, if
            the run has such networks.

    Raises:
        DataError, RunError, ConfigError, CheckpointError: before anything is written.
        TrainingError: numerical failure, after `RunFinished` with status ``failed``.
        RankLostError: another process died; the same, and the state is saved.
    """
    with deterministic(config.deterministic):
        device = pick_device(config.device)
        _check_precision(config, device)
        splits, networks = load_data(config, ranks, resume, networks)
        if not ranks.leads:
            follow(Worker(config, splits, device, ranks, networks=networks))
            return
        try:
            session = open_session(config, splits, device, resume, ranks, networks)
            with runs.RunWriter(session.run) as log:
                share_state(session.worker)
                training = _Training(session, stop or StopRequest())
                events = training.events()
                event: Event | None = None
                try:
                    for event in events:
                        log.append(event)
                        yield event
                except BaseException as error:
                    # What was learned is still saved, where that is possible; where not, the first
                    # error is the one to tell. Left to the interpreter, the second would be a
                    # traceback on stderr.
                    with contextlib.suppress(OSError, runs.RunError):
                        events.close()  # type: ignore[attr-defined]
                        # Ctrl-C pressed twice, or nobody takes the events any more: no crash.
                        ended = isinstance(event, RunFinished) or isinstance(error, Exception)
                        if not ended:
                            log.append(reports.finished(session, "interrupted"))
                    raise
        finally:
            dismiss(ranks)
    if training.failure is not None:
        raise training.failure


def _check_precision(config: TrainConfig, device: torch.device) -> None:
    if config.precision == "tf32" and config.has_chain and device.type != "cuda":
        raise ConfigError(
            f"precision = tf32 needs a CUDA device, and this training is on the {device.type}; "
            "drop --precision, or use bf16"
        )


class _Training:
    """One run as a stream of events."""

    def __init__(self, session: Session, stop: StopRequest) -> None:
        self.session, self.config, self.stop = session, session.config, stop
        self.worker, self.trainer = session.worker, session.trainer
        self.meter, self.keeper, self.control = session.meter, session.keeper, session.control
        self.commands = CommandTaker(session.run, session.keeper, session.control)
        self.looks = Looks(session)
        self.failure: TrainingError | RankLostError | None = None
        self.status: str | None = None
        """Why training ends; None while it goes on."""
        self.restarts = 0
        self.engine = session.trainer.description

    def events(self) -> Iterator[Event]:
        """Everything that happens, from `RunStarted` to `RunFinished`."""
        yield reports.started(self.session)
        yield from map(reports.warning, self.session.notes)
        if self.meter.iteration:  # resumed: there may be nothing left to do
            verdict = self._verdict() if self.session.between_epochs else None
            self.status = verdict or self._stop_reason()
        try:
            while self.status is None:
                try:
                    yield from self._epoch()
                except TrainingError as error:
                    yield self._after_failure(error)
                except RankLostError as error:
                    self.session.save()
                    yield self._failed(error)
        finally:
            # Also when the consumer goes away: what was learned is never lost.
            self.keeper.flush()
        yield reports.finished(self.session, self.status)

    def _epoch(self) -> Iterator[Event]:
        """Train on the batches that the epoch still has, then validate and save."""
        session, meter, control = self.session, self.meter, self.control
        if session.between_epochs:
            meter.start_epoch()
        while self.status is None and session.batches_done < session.per_epoch:
            began = time.perf_counter()
            self.trainer.step_size = control.step_size
            with announced(self.worker, session.place):
                # Draw the batch, run the Langevin chain, step the optimiser.
                stats = self.worker.train_on(session.place)
            session.average.update(meter.iteration)
            meter.add(stats, time.perf_counter() - began)
            control.update(stats.accept_prob)

            yield from self._new_engine()
            yield from map(reports.warning, session.watch.iteration(stats))
            if meter.due():
                yield meter.progress(control.step_size)
            yield from self.commands.poll(lambda: self.stop.reason is not None)
            self.status = self._stop_reason()
            if session.batches_done < session.per_epoch:
                self._save()
                if self.status is None and (taken := self.looks.within_epoch()):
                    yield taken
        if meter.recent.iterations:
            yield meter.progress(control.step_size)

        result = validate(session.model, session.validation_set, seed=self.config.seed)
        loss = result.reconstruction + (result.prior if self.config.prior else 0.0)
        train_loss = meter.over_epoch.of("loss")
        warnings = list(session.watch.evaluation(train_loss, result.latent_gain))
        best = self._record(loss)
        look = self.looks.take(result.latents, now=self.status is not None)
        yield reports.evaluated(session, result, loss, best=best, look=look)
        yield from map(reports.warning, warnings)
        # Only now, or the epoch would be told of never, or twice.
        if session.batches_done == session.per_epoch:
            self._save()

    def _record(self, loss: float) -> bool:
        """Take in an epoch's validation loss; whether it is the best so far.

        An epoch cut short is evaluated for the reader, but is no part of what a resumed run builds
        on. Its weights are the best only where there are no others.
        """
        if self.session.batches_done < self.session.per_epoch:
            return math.isnan(self.keeper.best_loss) and self.keeper.record(self.meter.epoch, loss)
        # While the KL term's weight rises, the loss may rise with it.
        counts = self.meter.epoch > self.config.warmup
        best = self.keeper.record(self.meter.epoch, loss, counts=counts)
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

    def _stop_reason(self) -> str | None:
        """Why training ends with this iteration, if it does."""
        if self.stop.reason is not None:
            return self.stop.reason
        if self.commands.stop_now:
            return "stopped"
        limit = self.config.max_time
        return "time-limit" if limit is not None and self.meter.elapsed >= limit else None

    def _save(self) -> None:
        """Write the state if it is due, was asked for, or is the last."""
        self.session.save(if_due=self.status is None and not self.commands.save_now)
        self.commands.save_now = False

    def _new_engine(self) -> Iterator[Event]:
        """A warning when another path computes iterations than before."""
        if self.trainer.description != self.engine:
            self.engine = self.trainer.description
            yield reports.warning(f"from here on: {self.engine}")

    def _after_failure(self, error: TrainingError) -> Message:
        """Restart from the last saved state where that was asked for and helps; else give up."""
        wanted = self.config.on_divergence == "restart" and self.restarts < MOST_RESTARTS
        if wanted and self.session.go_back():
            self.restarts += 1
            return reports.warning(
                f"{error}; restarted from iteration {self.meter.iteration} with step size "
                f"{self.control.step_size:.3g}"
            )
        return self._failed(error)

    def _failed(self, error: TrainingError | RankLostError) -> Message:
        self.failure, self.status = error, "failed"
        return Message(time=time.time(), level="error", text=str(error))
