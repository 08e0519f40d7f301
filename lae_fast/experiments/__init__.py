"""The studies of Bisht 2023, Idler 2022 and De León Martínez 2024.

Each module of `lae_fast.experiments.studies` has ``run(lab) -> Outcome``.

`STUDIES` is torch-free, so that listing them costs nothing.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from lae_fast.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from lae_fast.experiments.lab import Lab
    from lae_fast.experiments.outcome import Outcome

STUDIES = {
    "reconstruction": "Reconstruction and negative ELBO, LAE and VAE (Bisht 2023, tables 1 to 3).",
    "pictures": "Samples, latents, interpolations, traversals (Bisht 2023, figures 3 to 5).",
    "probe": "Linear probe of frozen latents (Bisht 2023, tables 4 to 6).",
    "neighbours": "Classifiers trained on generated neighbours (Bisht 2023, table 7).",
    "attack": "Adversarial robustness of those classifiers (Bisht 2023, tables 8 and 9).",
    "uniform": "A uniform square to a Gaussian and back (Idler 2022).",
    "vae": "Noise, anomalies, conditional generation with a VAE (De León Martínez 2024).",
    "exactness": "Samplers against known posteriors (Taniguchi et al. 2022).",
    "likelihood": "Held-out log-likelihood of every model on equal terms.",
    "versus": "LAE, VAE, IWAE and Hoffman's chains after equal epochs and equal time.",
}
"""Name, which is that of the module in ``studies`` -> one line."""


def find_study(name: str) -> Callable[[Lab], Outcome]:
    """The function of a study.

    Raises:
        ConfigError: no such study.
    """
    if name not in STUDIES:
        raise ConfigError(f"no study '{name}'; {did_you_mean(name, STUDIES)}")
    run: Callable[[Lab], Outcome] = importlib.import_module(
        f"lae_fast.experiments.studies.{name}"
    ).run
    return run
