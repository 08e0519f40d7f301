"""The studies of the seed documents, one a file; each has ``run(lab) -> Outcome``.

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
    "reconstruction": "Reconstruction and validation loss, LAE and VAE (report, tables 1 to 3).",
    "pictures": "Samples, latents, interpolations, traversals (report, figures 3 to 5).",
    "probe": "Linear probe of frozen latents (report, tables 4 to 6).",
    "neighbours": "Classifiers trained on generated neighbours (report, table 7 and future work).",
    "attack": "Adversarial robustness of those classifiers (report, tables 8 and 9).",
    "uniform": "A uniform square to a Gaussian and back (uniform-to-Gaussian study).",
    "vae": "Noise, interpolation, anomalies, conditional generation (VAE study).",
    "exactness": "Samplers against posteriors that are known (the paper's argument).",
    "likelihood": "Held-out log-likelihood of every model on equal terms.",
}
"""Name -> one line. A name is that of the module, with ``_`` for ``-``."""


def find_study(name: str) -> Callable[[Lab], Outcome]:
    """The function of a study.

    Raises:
        ConfigError: no such study.
    """
    if name not in STUDIES:
        raise ConfigError(f"no experiment '{name}'; {did_you_mean(name, STUDIES)}")
    run: Callable[[Lab], Outcome] = importlib.import_module(
        f"lae_fast.experiments.studies.{name}"
    ).run
    return run
