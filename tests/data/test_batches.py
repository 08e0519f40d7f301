"""The order of an epoch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.data_cases import refused
from lae_fast.data import batch_indices


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(0, 500),
    batch_size=st.integers(1, 64),
    seed=st.integers(0, 2**64 - 1),
    epoch=st.integers(0, 2**64 - 1),
)
def test_batches(n: int, batch_size: int, seed: int, epoch: int) -> None:
    def batches() -> list[torch.Tensor]:
        return list(batch_indices(n, batch_size, seed=seed, epoch=epoch))

    found = batches()
    assert all(batch.dtype == torch.int64 for batch in found)
    assert all(len(batch) == batch_size for batch in found[:-1])
    seen = torch.cat(found) if found else torch.empty(0, dtype=torch.int64)
    assert len(seen.unique()) == len(seen) == n
    if len(seen):
        assert int(seen.min()) >= 0
        assert int(seen.max()) < n
    assert [batch.tolist() for batch in batches()] == [batch.tolist() for batch in found]


def test_batches_differ_by_seed_and_epoch() -> None:
    def order(seed: int, epoch: int) -> tuple[int, ...]:
        return tuple(torch.cat(list(batch_indices(50, 8, seed=seed, epoch=epoch))).tolist())

    orders = {order(seed, epoch) for seed in range(6) for epoch in range(6)}
    assert len(orders) == 36  # not, say, a function of seed + epoch


def test_batches_are_uniform() -> None:
    """Chi-squared of where image 0 lands, 20 positions, 19 degrees of freedom: false alarm 1e-6."""
    counts = np.zeros(20)
    for epoch in range(4000):
        order = torch.cat(list(batch_indices(20, 20, seed=3, epoch=epoch)))
        counts[int((order == 0).nonzero())] += 1
    assert ((counts - 200) ** 2 / 200).sum() < 63.7


@pytest.mark.parametrize(
    "arguments",
    [
        {"n": -1, "batch_size": 4, "seed": 0, "epoch": 0},
        {"n": 5, "batch_size": 0, "seed": 0, "epoch": 0},
        {"n": 5, "batch_size": 4, "seed": -1, "epoch": 0},
        {"n": 5, "batch_size": 4, "seed": 0, "epoch": 2**64},
    ],
)
def test_batches_refuse_on_the_call(arguments: dict[str, int]) -> None:
    with refused():
        batch_indices(**arguments)  # type: ignore[arg-type]
