"""Tables 4 to 6 of Bisht 2023: ReLU and one linear layer on frozen latents."""

from __future__ import annotations

from typing import Any

from lae_fast.analysis.probe import train_probe
from lae_fast.config.presets import PROBES
from lae_fast.experiments.lab import Lab
from lae_fast.experiments.outcome import Cell, Outcome, ResultTable, make_row
from lae_fast.experiments.studies.models import further_models, report_models
from lae_fast.experiments.studies.published import PROBE

COLUMNS = {
    "model": "",
    "accuracy, Bisht 2023": ".1%",
    "accuracy": ".1%",
    "loss, Bisht 2023": ".3f",
    "loss": ".3f",
    "training accuracy, Bisht 2023": ".1%",
    "training accuracy": ".1%",
    "training loss, Bisht 2023": ".3f",
    "training loss": ".3f",
    "accuracy, 20 epochs, scaled": ".1%",
}
PRINTED = [heading for heading in COLUMNS if heading.endswith("Bisht 2023")]
NOTE = (
    "The last column trains the probe for 20 epochs (100 on digits) at 1e-2, on latents scaled "
    "to one.\n\n"
    "Bisht 2023 gives neither epochs nor batch size of the probe; the batch size is inferred from "
    "the tables. Adam moves a weight by about its learning rate per update, so a few hundred "
    "updates at a low rate leave a probe near its random start, which on latents with a standard "
    "deviation in the tens is wrong by many nats. The accuracy then says as much of the latents' "
    "scale as of what they hold."
)
QUICK: dict[str, Any] = {"epochs": 10, "learning_rate": 1e-2, "batch_size": 128}


def run(lab: Lab) -> Outcome:
    """Train the probe on every model of those tables."""
    splits, images = lab.splits, lab.held_out
    report = PROBES["report"]
    published = {**report, **(QUICK if lab.quick else {})}
    longer = {**report, "epochs": 100 if lab.quick else 20, "learning_rate": 1e-2, "scale": True}

    def figures(run: Any) -> dict[str, float]:
        first = train_probe(run.model, splits.train, images, seed=run.config.seed, **published)
        best = train_probe(run.model, splits.train, images, seed=run.config.seed, **longer)
        return {
            "accuracy": first.accuracy,
            "loss": first.loss,
            "training accuracy": first.train_accuracy,
            "training loss": first.train_loss,
            "accuracy, 20 epochs, scaled": best.accuracy,
        }

    rows: list[list[Cell]] = []
    for name, settings in (report_models(lab) | further_models(lab)).items():
        printed = dict(zip(PRINTED, PROBE.get(name, (None,) * 4), strict=True))
        rows.append(make_row(COLUMNS, name, printed, lab.measure(settings, figures)))
    table = ResultTable(
        "Tables 4 to 6 of Bisht 2023: probe of frozen latents; loss in nats per image",
        COLUMNS,
        rows,
        NOTE,
    )
    setting = (
        "Digits; latents drawn from the encoder; Adam at 1e-2, batches of 128, 10 epochs."
        if lab.quick
        else "MNIST; latents drawn from the encoder; Adam at 1e-4, batches of 1024, 10 epochs."
    )
    title = "What does a linear layer find in the latents?"
    return lab.outcome("probe", title, setting, [table], {})
