"""Tensors that share an allocation."""

from __future__ import annotations

import mmap
from math import prod

import pytest
import torch

from lae_fast.models.memory import HUGE_PAGE, empty_together

SHAPES = [(3, 5), (7,), (0, 4), (1000, 700), (2, 2)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shapes", [SHAPES, SHAPES[:3], []])
def test_each_has_its_shape_and_its_own_memory(
    shapes: list[tuple[int, ...]], dtype: torch.dtype
) -> None:
    made = empty_together(shapes, torch.zeros(1, dtype=dtype))
    assert [tuple(t.shape) for t in made] == shapes
    for value, tensor in enumerate(made):
        assert tensor.dtype == dtype
        assert tensor.is_contiguous()
        assert tensor.data_ptr() % 64 == 0
        tensor.fill_(value)
    for value, tensor in enumerate(made):
        assert bool((tensor == value).all())


def test_large_ones_start_on_a_huge_page_and_small_ones_do_not_take_one() -> None:
    large, *_ = empty_together([(1000, 700), (3,)], torch.zeros(1))
    assert large.data_ptr() % HUGE_PAGE == 0
    small, *_ = empty_together([(3, 5)], torch.zeros(1))
    assert small.untyped_storage().nbytes() < 4096


def test_a_system_without_huge_pages_does_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(mmap, "MADV_HUGEPAGE", raising=False)
    assert prod(SHAPES[3]) * 4 >= HUGE_PAGE
    made = empty_together(SHAPES, torch.zeros(1))
    assert [tuple(t.shape) for t in made] == SHAPES
    assert made[3].untyped_storage().nbytes() < prod(SHAPES[3]) * 4 + HUGE_PAGE
