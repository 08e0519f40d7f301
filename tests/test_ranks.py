"""Several processes train as one does: same noise, same decisions, same weights."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from helpers.command_line import ROOT
from helpers.ranks_job import run
from lae_fast.data import binarize
from lae_fast.ranks import ALONE, Ranks, meet

SIZE = 2
DTYPES = [torch.float64, torch.float32]
JOB = ROOT / "tests/helpers/ranks_job.py"


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[torch.dtype, int], dict]:
    """What every job gave, by dtype and rank; rank -1 is a process on its own."""
    folder = tmp_path_factory.mktemp("ranks")
    environ = os.environ | {
        "PYTHONPATH": f"{ROOT}:{ROOT / 'cli'}",
        "OMP_NUM_THREADS": "1",
    }
    jobs = [
        subprocess.Popen([sys.executable, JOB, folder, str(rank), str(SIZE)], env=environ)
        for rank in range(SIZE)
    ]
    try:
        alone = {(dtype, -1): run(dtype, ALONE) for dtype in DTYPES}
        assert [job.wait(timeout=240) for job in jobs] == [0] * SIZE
    finally:
        for job in jobs:
            job.kill()
    together = {
        (dtype, rank): torch.load(folder / f"{dtype}-{rank}.pt")
        for dtype in DTYPES
        for rank in range(SIZE)
    }
    return alone | together


def of(results: dict, dtype: torch.dtype, rank: int, job: str) -> dict[str, Tensor]:
    prefix = f"{job}/"
    return {
        name.removeprefix(prefix): value
        for name, value in results[dtype, rank].items()
        if name.startswith(prefix)
    }


KINDS = ["image", "gaussian", "whitened", "plain", "vae", "iwae", "hoffman", "frozen"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_ranks_hold_the_same_bits(results: dict, kind: str, dtype: torch.dtype) -> None:
    first, second = (of(results, dtype, rank, kind) for rank in range(SIZE))
    assert set(first) > {"stats"}
    torch.testing.assert_close(second, first, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("kind", KINDS)
def test_two_ranks_train_as_one_does_in_float64(results: dict, kind: str) -> None:
    one, two = (of(results, torch.float64, rank, kind) for rank in (-1, 0))
    assert set(one) == set(two) != set()
    for name in one:
        scale = float(one[name].nan_to_num().abs().max())
        torch.testing.assert_close(
            two[name], one[name], rtol=1e-9, atol=1e-9 * scale, equal_nan=True, msg=name
        )


@pytest.mark.parametrize("kind", ["vae", "frozen", "whitened"])
def test_two_ranks_train_as_one_does_to_rounding_in_float32(results: dict, kind: str) -> None:
    one, two = (of(results, torch.float32, rank, kind) for rank in (-1, 0))
    assert set(one) == set(two) != set()
    for name in one:
        scale = float(one[name].nan_to_num().abs().max())
        torch.testing.assert_close(
            two[name], one[name], rtol=1e-3, atol=1e-3 * scale, equal_nan=True, msg=name
        )


@pytest.mark.parametrize("dtype", DTYPES)
def test_decisions_are_those_of_one_process_over_a_thousand_steps(
    results: dict, dtype: torch.dtype
) -> None:
    one, two = (of(results, dtype, rank, "decisions") for rank in (-1, 0))
    assert 100 < float(one["accepted"].sum()) < 900
    assert torch.equal(one["accepted"], two["accepted"])


def test_what_one_rank_meets_is_raised_on_all(results: dict) -> None:
    for rank in range(SIZE):
        said = of(results, torch.float64, rank, "fails_on_one")["said"]
        assert "the potential is not finite" in bytes(said.tolist()).decode()


@pytest.mark.parametrize("images", [0, 1, 4, 5, 8, 13, 512, 1001])
@pytest.mark.parametrize("size", [1, 2, 3, 8])
def test_shares_are_a_batch_in_order_from_whole_noise_blocks(images: int, size: int) -> None:
    shares = [Ranks(rank, size).share(images) for rank in range(size)]
    rows = [row for share in shares for row in range(images)[share]]
    assert rows == list(range(images))
    assert all(share.start % 4 == 0 for share in shares)
    lengths = [len(range(images)[share]) for share in shares]
    assert lengths == sorted(lengths, reverse=True)


def test_parts_are_binarized_as_the_whole() -> None:
    x = torch.rand(13, 6, generator=torch.Generator().manual_seed(0))
    parts = [binarize(x[a:b], 5, first=a, images=13) for a, b in ((0, 8), (8, 13))]
    assert torch.equal(torch.cat(parts), binarize(x, 5))


def test_ranks_of_a_restart_do_not_meet_the_dead() -> None:
    """torchrun keeps one store for all that it starts, with what the dead have written."""
    store, size = dist.HashStore(), 3
    store.set("question/1", "of one that died before it was answered")
    words = []
    for _ in range(3):
        with ThreadPoolExecutor(size) as pool:
            met = list(pool.map(lambda rank: meet(store, rank, size), reversed(range(size))))
        assert len(set(met)) == 1
        words.append(met[0])
    assert len(set(words)) == 3


def test_a_rank_that_never_comes_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lae_fast.ranks.MEETING", timedelta(seconds=0.1))
    with pytest.raises(RuntimeError, match="rank 1 did not come"):
        meet(dist.HashStore(), 0, 2)
