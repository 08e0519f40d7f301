"""Settings that were published, by name, for ``--preset`` and the studies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

BEFORE: Mapping[str, Any] = {"start": "point", "damping": 0.1, "kl_warmup": 0.0, "ema": 0.0}
"""What runs did before these settings existed: a ``config.json`` without them means this."""
ALGORITHM_2: Mapping[str, Any] = {
    **BEFORE,
    "steps": 10,
    "learning_rate": 1e-4,
    "learning_rate_schedule": "constant",
    "batch_size": 512,
    "epochs": 1000,
    "patience": 10,
}
"""Chains that start at phi g(x), as in Algorithm 2 of Taniguchi et al. 2022, and the optimiser and
early stopping of Bisht 2023."""


def bisht_lae(batch_size: int) -> dict[str, Any]:
    """The chain of Bisht 2023: no prior, no acceptance, a temperature of 1 / batch."""
    form = {"mh": False, "steps": 2, "prior": False, "whiten": False}
    return form | {"step_size": 1e-3, "temperature": 1 / batch_size}


PRESETS: Mapping[str, Mapping[str, Any]] = {
    "report": {**ALGORITHM_2, **bisht_lae(512), "validation": "test"},
    "paper": {
        **ALGORITHM_2,
        "hidden": 1024,
        "likelihood": "discretized-logistic",
        "steps": 2,
        "step_size": 1e-6,
        "whiten": False,
        "batch_size": 100,
        "epochs": 50,
        "patience": 0,
        "validation": "test",
    },
}
"""Name -> settings: `report` is Bisht 2023, `paper` the MNIST experiment of Taniguchi et al. 2022.
Both leave the data set, the model and the number of latents to their settings' defaults."""

PROBES: Mapping[str, Mapping[str, Any]] = {
    "report": {
        "epochs": 10,
        "batch_size": 1024,
        "learning_rate": 1e-4,
        "draws": True,
        "relu": True,
        "scale": False,
    }
}
"""Name -> how `lae probe` trains: `report` is Bisht 2023, tables 4 to 6."""
CLASSIFIERS: Mapping[str, Mapping[str, Any]] = {
    "report": {"epochs": 10, "batch_size": 128, "learning_rate": 1e-4}
}
"""Name -> how `lae classify` and `lae attack` train: `report` is Bisht 2023, tables 7 to 9."""
