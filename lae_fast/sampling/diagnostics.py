"""How well a chain mixes: effective sample size and split R-hat, through arviz-stats."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor


def effective_sample_size(draws: Tensor) -> NDArray[np.float64]:
    """Bulk effective sample size of every quantity.

    Args:
        draws: ``(chains, draws, ...)``.

    Returns:
        array of shape ``draws.shape[2:]``; at most a few times chains x draws.

    Source: Vehtari et al. 2021, Rank-normalization, folding, and localization.
    """
    return _each(draws, "ess")


def split_rhat(draws: Tensor) -> NDArray[np.float64]:
    """Rank-normalised split R-hat of every quantity; below 1.01 is well mixed.

    Args:
        draws: ``(chains, draws, ...)``, at least 4 draws.

    Source: Vehtari et al. 2021.
    """
    return _each(draws, "rhat")


def _each(draws: Tensor, name: str) -> NDArray[np.float64]:
    from arviz_stats.base.array import array_stats

    values = draws.detach().to("cpu").double().numpy()
    # A chain that never moved has no variance; its figures are NaN, which says it.
    with np.errstate(invalid="ignore", divide="ignore"):
        result = getattr(array_stats, name)(values, chain_axis=0, draw_axis=1)
    return np.asarray(result, dtype=np.float64)
