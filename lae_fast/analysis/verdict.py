"""Whether a run's chain and model can be trusted, as a list of findings with remedies."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from lae_fast import runs
from lae_fast.analysis.evaluate import ChainReport, Report
from lae_fast.runs.events import Evaluated

ACCEPT_RANGE = (0.2, 0.995)
RHAT_LIMIT = 1.1
EFFECTIVE_LIMIT = 0.005
MEAN_LIMIT = 0.2
STD_RANGE = (0.8, 1.2)
DEAD_STD = 0.95


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        name: what.
        ok: whether it is as it should be.
        essential: whether a failure makes the run's samples untrustworthy.
        text: the figure, and what to do when it is bad; one line.
    """

    name: str
    ok: bool
    essential: bool
    text: str


def judge(run: Path, report: Report, *, is_chain: bool) -> list[Finding]:
    """Judge a run by its history and its report.

    Args:
        run: the run folder, for the acceptance of every epoch.
        report: from `lae_fast.analysis.evaluate.evaluate_run`.
        is_chain: whether the run trained with a Langevin chain at all.
    """
    findings = [*_history(run)] if is_chain else []
    chain = report.chain
    findings.append(
        Finding(
            "mixing",
            chain.split_rhat <= RHAT_LIMIT,
            True,
            f"split R-hat {chain.split_rhat:.3f} of z at the final weights"
            + _else(
                chain.split_rhat <= RHAT_LIMIT,
                "posteriors are hard to reach: train longer or with fewer latents",
            ),
        )
    )
    findings.extend(_latents(chain))
    findings.append(
        Finding(
            "likelihood",
            report.effective >= EFFECTIVE_LIMIT,
            False,
            f"{report.effective:.1%} of the importance samples are effective"
            + _else(
                report.effective >= EFFECTIVE_LIMIT,
                "the likelihood is pessimistic: raise --samples, or look at --ais",
            ),
        )
    )
    return findings


def _history(run: Path) -> list[Finding]:
    epochs = [e for e in runs.EventReader(run).poll() if isinstance(e, Evaluated)]
    rates = [e.accept_prob for e in epochs]
    last = rates[-max(1, len(rates) // 4) :]
    mean = sum(last) / len(last) if last else math.nan
    low, high = ACCEPT_RANGE
    worst = min(rates, default=math.nan)
    return [
        Finding(
            "acceptance",
            low <= mean <= high,
            True,
            f"{mean:.3f} over the last quarter of the epochs"
            + _else(
                low <= mean <= high,
                "the chain is stuck or barely moves: use --step-size auto with whitening",
            ),
        ),
        Finding(
            "moving throughout",
            worst >= low,
            True,
            f"lowest acceptance of an epoch {worst:.3f}"
            + _else(worst >= low, "the chain froze for an epoch: use --step-size auto"),
        ),
    ]


def _latents(chain: ChainReport) -> list[Finding]:
    mean = max((abs(value) for value in chain.latent_mean), default=0.0)
    low, high = min(chain.latent_std), max(chain.latent_std)
    matches = mean <= MEAN_LIMIT and STD_RANGE[0] <= low and high <= STD_RANGE[1]
    alive = chain.posterior_std <= DEAD_STD
    return [
        Finding(
            "latents in use",
            alive,
            True,
            f"posterior standard deviation {chain.posterior_std:.3f} of the prior's 1"
            + _else(alive, "the latents have become noise: lower --step-size"),
        ),
        Finding(
            "aggregate posterior",
            matches,
            False,
            f"mean within {mean:.2f}, standard deviation {low:.2f} to {high:.2f} a dimension"
            + _else(
                matches,
                "samples from the prior will not look like the data: keep --prior and train longer",
            ),
        ),
    ]


def _else(ok: bool, remedy: str) -> str:
    return "" if ok else f"; {remedy}"
