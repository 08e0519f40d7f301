"""Langevin autoencoders on a fused C++/CUDA kernel.

Public names are resolved on first use, so that ``import lae_fast`` costs nothing and the
torch-free parts (`config`, `runs`) never load torch. Training lives in
`lae_fast.train`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {
    "LAE": "lae_fast.models.lae",
    "mlp_lae": "lae_fast.models.lae",
    "TrainConfig": "lae_fast.config",
    "Chains": "lae_fast.sampling.posterior",
    "sample_posterior": "lae_fast.sampling.posterior",
    "effective_sample_size": "lae_fast.sampling.diagnostics",
    "split_rhat": "lae_fast.sampling.diagnostics",
}

if TYPE_CHECKING:
    from lae_fast.config import TrainConfig
    from lae_fast.models.lae import LAE, mlp_lae
    from lae_fast.sampling.diagnostics import effective_sample_size, split_rhat
    from lae_fast.sampling.posterior import Chains, sample_posterior

__all__ = [
    "LAE",
    "Chains",
    "TrainConfig",
    "effective_sample_size",
    "mlp_lae",
    "sample_posterior",
    "split_rhat",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'lae_fast' has no attribute '{name}'")
