"""Whether a run is well: every judgement, and every limit it uses, in one table.

A run is judged at three moments: by the trainer while it trains (`stuck`, `diverged`,
`unused_latents`), by the dashboard and ``lae runs`` while they follow it (`status`,
`while_running`), and by ``lae diagnose`` once it has ended (`after_training`).
"""

from __future__ import annotations

import math
import os
import socket
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Literal

from lae_fast.runs.files import is_config
from lae_fast.runs.state import RunState

STUCK_ITERATIONS = 200
STUCK_EVENTS = 20
EVENTS_PER_MEAN = 20
FIRST_ITERATIONS = 500


TRAINER, DASHBOARD = "the trainer", "the dashboard"
LIVE, RUNS, DIAGNOSE = "`lae train`", "`lae runs`", "`lae diagnose`"
"""Who judges."""


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """A limit, and what it means to be beyond it."""

    name: str
    """The finding that it decides."""
    side: Literal["<", ">"]
    """On which side of the limit the trouble lies."""
    value: float
    unit: str
    """The quantity, and its unit if it has one."""
    by: tuple[str, ...]
    """Who judges it."""
    when: str
    """Over how long; the reason where another limit concerns the same quantity."""
    meaning: str
    """What is wrong beyond the limit."""
    remedy: str
    essential: bool = True
    """Whether a failure makes the run's samples untrustworthy; if not, it is a note."""

    def beyond(self, value: float) -> bool:
        """Whether a value lies on the bad side; NaN lies on neither."""
        return value < self.value if self.side == "<" else value > self.value

    def finding(self, text: str) -> Finding:
        """That the limit was passed."""
        return Finding(self.name, False, self.essential, text)


SILENT = Threshold(
    name="silent",
    side=">",
    value=15.0,
    unit="seconds since the last event",
    by=(DASHBOARD, RUNS),
    when="while a training runs; it writes an event every 2 s, also while it is paused",
    meaning="the trainer hangs, is suspended, or its machine is gone",
    remedy="look at its process, and at `output.log` in the run folder",
)
CRASHED = Threshold(
    name="crashed",
    side=">",
    value=60.0,
    unit="seconds from the run folder to its first event",
    by=(DASHBOARD, RUNS),
    when="before the first event; a process that is gone from this machine has crashed at once",
    meaning="the trainer has ended without closing its log",
    remedy="read `output.log` in the run folder; continue with `lae train --resume RUN`",
)
NOT_FINITE = Threshold(
    name="NaN",
    side=">",
    value=math.inf,
    unit="size of the loss or of the gradient norm",
    by=(DASHBOARD,),
    when="at the last event of each kind",
    meaning="the loss or the gradient is not finite",
    remedy="use a lower `--learning-rate` or `--step-size`, or `--on-divergence restart`",
)
DIVERGING = Threshold(
    name="diverging",
    side=">",
    value=1.0,
    unit="rise of the mean training loss over its lowest, as a share of the lowest",
    by=(TRAINER, DASHBOARD),
    when=f"mean over an epoch for the trainer; over {EVENTS_PER_MEAN} progress events, and only "
    "while it rises, for the dashboard",
    meaning="the training loss has doubled",
    remedy="use a lower `--learning-rate` or `--step-size`",
)
DIVERGING_LEAST = replace(
    DIVERGING,
    value=10.0,
    unit="the same rise, nats per image",
    when="the same; both limits must be passed, because a loss near 0 doubles by chance",
)
STUCK = Threshold(
    name="stuck chain",
    side="<",
    value=0.01,
    unit="mean acceptance rate; without Metropolis-Hastings, what it would have been",
    by=(TRAINER, DASHBOARD),
    when=f"over {STUCK_ITERATIONS} iterations for the trainer, over {STUCK_EVENTS} progress events "
    "for the dashboard",
    meaning="the chain does not move",
    remedy="use `--step-size auto`, or a smaller one",
)
UNUSED = Threshold(
    name="unused latents",
    side="<",
    value=0.5,
    unit="nats per image by which another image's latents are worse for the decoder",
    by=(TRAINER,),
    when=f"at each evaluation after {FIRST_ITERATIONS} iterations; a younger decoder may ignore "
    "its latents",
    meaning="the decoder ignores the latents, which have become noise",
    remedy="use `--step-size auto` or a smaller one, or a lower `--temperature`",
)
UNUSED_WITHOUT_CHAIN = replace(
    UNUSED,
    when="the same, for models without a chain",
    meaning="the decoder ignores the latents",
    remedy="use fewer latents, or a higher `--learning-rate`",
)
SLOW_MIXING = Threshold(
    name="slow mixing",
    side=">",
    value=1.5,
    unit="split R-hat of z, median over images and dimensions",
    by=(DASHBOARD,),
    when="at evaluations that check the chain; the check is short, 4 chains of 300 steps, so a "
    "healthy chain reads 1.0 to 1.3",
    meaning="the chain explores the posteriors slowly",
    remedy="train longer, or use fewer latents",
    essential=False,
)
BAND = Threshold(
    name="low or high acceptance",
    side=">",
    value=0.15,
    unit="distance of the acceptance rate from `--target-accept`",
    by=(LIVE, DASHBOARD),
    when="at each progress event, as a word beside the acceptance rate; with `--step-size auto`, "
    "high is no fault: the step size still rises, or one step moves as far as its cap allows",
    meaning="another step size would be more efficient",
    remedy="use `--step-size auto`, which follows the target",
    essential=False,
)
ACCEPTANCE = Threshold(
    name="acceptance",
    side="<",
    value=0.2,
    unit="mean acceptance rate",
    by=(DIAGNOSE,),
    when="over the last quarter of the epochs; stricter than for a stuck chain, because the "
    "samples of this one are to be trusted",
    meaning="the chain is stuck, or barely moves",
    remedy="use `--step-size auto` with whitening",
)
ACCEPTANCE_HIGH = replace(ACCEPTANCE, side=">", value=0.995, when="the same")
MOVING = Threshold(
    name="moving throughout",
    side="<",
    value=0.2,
    unit="mean acceptance rate of an epoch",
    by=(DIAGNOSE,),
    when="of the epoch in which it was lowest",
    meaning="the chain was stuck for an epoch",
    remedy="use `--step-size auto`",
)
MIXING = Threshold(
    name="mixing",
    side=">",
    value=1.1,
    unit="split R-hat of z, 95th percentile over images and dimensions",
    by=(DIAGNOSE,),
    when="at the final weights; stricter than for slow mixing, because these chains are long and "
    "warmed up",
    meaning="the posteriors are hard to reach",
    remedy="train longer, or use fewer latents",
)
IN_USE = Threshold(
    name="latents in use",
    side=">",
    value=0.95,
    unit="mean standard deviation of z given an image; the prior's is 1",
    by=(DIAGNOSE,),
    when="at the final weights",
    meaning="the latents have become noise",
    remedy="use a smaller `--step-size`",
)
MEAN = Threshold(
    name="aggregate posterior",
    side=">",
    value=0.2,
    unit="largest mean of a latent over images; the prior's is 0",
    by=(DIAGNOSE,),
    when="at the final weights",
    meaning="samples from the prior will not look like the data",
    remedy="keep `--prior`, and train longer",
    essential=False,
)
NARROW = replace(
    MEAN,
    side="<",
    value=0.8,
    unit="smallest standard deviation of a latent over images; the prior's is 1",
)
WIDE = replace(
    MEAN,
    value=1.2,
    unit="largest standard deviation of a latent over images; the prior's is 1",
)
EFFECTIVE = Threshold(
    name="likelihood",
    side="<",
    value=0.005,
    unit="share of the importance samples that is effective",
    by=(DIAGNOSE,),
    when="at the final weights",
    meaning="the log-likelihood is pessimistic",
    remedy="use more `--samples`, or look at `--ais`",
    essential=False,
)

TABLE = tuple(value for value in list(vars().values()) if isinstance(value, Threshold))
"""Every limit, in the order in which they stand above."""


@dataclass(frozen=True)
class Finding:
    """One thing that was judged."""

    name: str
    ok: bool
    """Whether it is as it should be."""
    essential: bool
    """Whether a failure makes the run's samples untrustworthy; if not, it is a note."""
    text: str
    """The figure, and what to do if it is bad; one line."""


def accept_band(target: float) -> tuple[float, float]:
    """The acceptance rates that count as on target, inside (0.02, 0.98)."""
    return max(0.02, target - BAND.value), min(0.98, target + BAND.value)


# While training


def stuck(accepts: Collection[float], *, mh: bool = True) -> Finding | None:
    """Whether the chain is stuck, from its recent acceptance rates; None if it moves.

    Without Metropolis-Hastings it is a note: every proposal is taken, however unlikely.
    """
    mean = sum(accepts) / len(accepts)
    if not STUCK.beyond(mean):
        return None
    return replace(STUCK.finding(f"acceptance {mean:.3f}; {STUCK.remedy}"), essential=mh)


def diverged(loss: float, lowest: float) -> Finding | None:
    """Whether a mean training loss has risen too far above the lowest, nats per image."""
    rise = loss - lowest
    if not (DIVERGING_LEAST.beyond(rise) and rise > DIVERGING.value * abs(lowest)):
        return None
    losses = f"training loss {loss:.1f} after {lowest:.1f} nats per image"
    return DIVERGING.finding(f"{losses}; {DIVERGING.remedy}")


def unused_latents(gain: float, iterations: int, *, has_chain: bool) -> Finding | None:
    """Whether the decoder ignores its latents.

    Args:
        gain: nats per image that an image's own latents gain over another image's.
        iterations: done so far.
        has_chain: whether Langevin steps move the latents.
    """
    threshold = UNUSED if has_chain else UNUSED_WITHOUT_CHAIN
    if iterations < FIRST_ITERATIONS or not threshold.beyond(gain):
        return None
    return threshold.finding(f"{threshold.meaning}; {threshold.remedy}")


# While a run is followed

ACTIVE = ("starting", "running", "silent")
"""Every `status` in which a trainer may still be writing."""


def status(state: RunState, now: float, *, created: float | None = None) -> str:
    """What has become of a run.

    Args:
        state: of its log.
        now: Unix time.
        created: Unix time of the run folder; needed only for a run without events.

    Returns:
        starting, running, silent, crashed, a `RunFinished` status, or ``not a run``.
    """
    if state.last_event is None:
        if not is_config(state.config):
            return "not a run"
        return "crashed" if created is None or CRASHED.beyond(now - created) else "starting"
    if state.finished is not None:
        return state.finished.status
    started = state.started
    if started and started.host == socket.gethostname() and not _alive(started.pid):
        return "crashed"
    return "silent" if SILENT.beyond(now - state.last_event) else "running"


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return pid > 0


def while_running(
    state: RunState,
    status: str,
    losses: Sequence[float],
    accepts: Sequence[float],
    silence: float | None,
) -> list[Finding]:
    """What is wrong with a run now, worst first.

    Args:
        state: of the run.
        status: from `status`.
        losses: the training loss of each progress event, nats per image.
        accepts: the acceptance rate of each of the last progress events; without
            Metropolis-Hastings, what it would have been.
        silence: seconds since the last event of a run that should be writing; None if it need not.
    """
    found: list[Finding | None] = []
    if status == CRASHED.name:
        found.append(CRASHED.finding(CRASHED.meaning))
    if silence is not None and SILENT.beyond(silence):
        span = timedelta(seconds=round(min(silence, 1e9)))
        found.append(SILENT.finding(f"no heartbeat for {span}"))
    finite = all(map(math.isfinite, _last_values(state)))
    found.append(_diverging(losses) if finite else NOT_FINITE.finding(NOT_FINITE.meaning))
    if state.has_chain and len(accepts) >= STUCK_EVENTS // 2:
        found.append(stuck(accepts[-STUCK_EVENTS:], mh=state.mh))
    rhat = state.evaluated.split_rhat if state.evaluated else None
    if rhat is not None and SLOW_MIXING.beyond(rhat):
        found.append(SLOW_MIXING.finding(f"split R-hat {rhat:.2f} > {SLOW_MIXING.value}"))
    return sorted(filter(None, found), key=lambda finding: not finding.essential)


def _last_values(state: RunState) -> list[float]:
    last, evaluated, finished = state.progress, state.evaluated, state.finished
    values = [last.train_loss, last.grad_norm] if last else []
    values += [evaluated.val_loss] if evaluated else []
    return values + ([finished.train_loss] if finished and finished.iterations else [])


def _diverging(losses: Sequence[float]) -> Finding | None:
    ends = range(EVENTS_PER_MEAN, len(losses) + 1, EVENTS_PER_MEAN)
    sums = (sum(losses[end - EVENTS_PER_MEAN : end]) for end in ends)
    means = [total / EVENTS_PER_MEAN for total in sums if math.isfinite(total)]
    if len(means) < 3 or means[-1] <= means[-2]:
        return None
    return diverged(means[-1], min(means))


# After training


def after_training(
    accepts: Sequence[float] | None,
    *,
    split_rhat: float,
    posterior_std: float,
    latent_mean: Sequence[float],
    latent_std: Sequence[float],
    effective: float,
) -> list[Finding]:
    """Judge an ended run: one finding for each question, whether all is well or not.

    Args:
        accepts: mean acceptance rate of each epoch; None for a model without a chain.
        split_rhat: of z, from chains at the final weights.
        posterior_std: mean standard deviation of z given an image.
        latent_mean, latent_std: of the aggregate posterior, one value per dimension.
        effective: share of the importance samples that carry the likelihood's estimate.
    """
    off = max(map(abs, latent_mean), default=0.0)
    low, high = min(latent_std), max(latent_std)
    mixing = f"split R-hat {split_rhat:.3f} of z at the final weights"
    spread = f"mean within {off:.2f}, standard deviation {low:.2f} to {high:.2f} per dimension"
    return [
        *(_acceptances(accepts) if accepts is not None else []),
        _judged(mixing, {MIXING: split_rhat}),
        _judged(
            f"posterior standard deviation {posterior_std:.3f} of the prior's 1",
            {IN_USE: posterior_std},
        ),
        _judged(spread, {MEAN: off, NARROW: low, WIDE: high}),
        _judged(f"{effective:.1%} of the importance samples are effective", {EFFECTIVE: effective}),
    ]


def _acceptances(accepts: Sequence[float]) -> list[Finding]:
    last = accepts[-max(1, len(accepts) // 4) :]
    mean = sum(last) / len(last) if last else math.nan
    worst = min(accepts, default=math.nan)
    return [
        _judged(
            f"{mean:.3f} over the last quarter of the epochs",
            {ACCEPTANCE: mean, ACCEPTANCE_HIGH: mean},
        ),
        _judged(f"lowest acceptance of an epoch {worst:.3f}", {MOVING: worst}),
    ]


def _judged(figure: str, values: dict[Threshold, float]) -> Finding:
    """One finding from the values of some limits; a value that is NaN fails."""
    limit = next(iter(values))
    if any(math.isnan(value) or each.beyond(value) for each, value in values.items()):
        return limit.finding(f"{figure}: {limit.meaning}; {limit.remedy}")
    return Finding(limit.name, True, limit.essential, figure)
