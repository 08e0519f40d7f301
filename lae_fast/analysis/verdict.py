"""Whether a run's chain and model can be trusted, as a list of findings with remedies."""

from __future__ import annotations

from pathlib import Path

from lae_fast import runs
from lae_fast.analysis.evaluate import Report
from lae_fast.config import has_chain
from lae_fast.runs import health
from lae_fast.runs.events import Evaluated
from lae_fast.runs.health import Finding


def judge(run: Path, report: Report) -> list[Finding]:
    """Judge a run by its history and its report.

    Args:
        run: the run folder, for the acceptance of every epoch.
        report: from `lae_fast.analysis.evaluate.evaluate_run`.
    """
    epochs = [event for event in runs.EventReader(run).poll() if isinstance(event, Evaluated)]
    chain = report.chain
    return health.after_training(
        [epoch.accept_prob for epoch in epochs] if has_chain(report.model) else None,
        split_rhat=chain.split_rhat,
        posterior_std=chain.posterior_std,
        latent_mean=chain.latent_mean,
        latent_std=chain.latent_std,
        effective=report.effective,
    )
