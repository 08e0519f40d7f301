"""Langevin autoencoders on a fused C++/CUDA kernel.

Train and use a model:

- `fit` trains your own networks on your own images, in a run folder as ``lae train`` does.
- `load` opens any run: a `TrainedModel` with ``encode``, ``decode``, ``sample``, ``posterior`` and
  ``log_likelihood``.
- `TrainConfig` has every setting, with its default.

Sample and diagnose alone:

- `sample_posterior` draws from p(z | x) of any likelihood, as `Chains`.
- `effective_sample_size` and `split_rhat` say whether they have mixed.

Build by hand:

- `LAE` is the model, `mlp_lae` a fully connected one; `lae_fast.train` has the trainers.

Names are loaded on first use, so ``import lae_fast`` costs nothing, and the parts without torch
(`lae_fast.config`, `lae_fast.runs`) never load it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {
    "fit": "lae_fast.trained",
    "load": "lae_fast.trained",
    "TrainedModel": "lae_fast.trained",
    "TrainConfig": "lae_fast.config",
    "sample_posterior": "lae_fast.sampling.posterior",
    "Chains": "lae_fast.sampling.posterior",
    "effective_sample_size": "lae_fast.sampling.diagnostics",
    "split_rhat": "lae_fast.sampling.diagnostics",
    "LAE": "lae_fast.models.lae",
    "mlp_lae": "lae_fast.models.lae",
}
"""Public name -> the module that defines it."""

if TYPE_CHECKING:
    from lae_fast.config import TrainConfig
    from lae_fast.models.lae import LAE, mlp_lae
    from lae_fast.sampling.diagnostics import effective_sample_size, split_rhat
    from lae_fast.sampling.posterior import Chains, sample_posterior
    from lae_fast.trained import TrainedModel, fit, load

__all__ = [
    "LAE",
    "Chains",
    "TrainConfig",
    "TrainedModel",
    "effective_sample_size",
    "fit",
    "load",
    "mlp_lae",
    "sample_posterior",
    "split_rhat",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'lae_fast' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
