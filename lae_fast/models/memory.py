"""Buffers on huge pages.

The buffers of one pass take about ten megabytes, and every step walks through all of them. On
pages of 4 KiB that is more addresses than the processor's translation tables hold, so matrix
products and everything between them would wait for translations.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Sequence

import torch
from torch import Tensor

HUGE_PAGE = 2 << 20
"""Bytes."""
ALIGN = 64
"""Elements; at least a cache line."""


def empty_together(shapes: Sequence[tuple[int, ...]], like: Tensor) -> list[Tensor]:
    """Uninitialised tensors of these shapes from one allocation, with dtype and device of ``like``.

    On the CPU, an allocation of at least one huge page lies on huge pages if the system has them.
    """
    sizes = [math.prod(shape) for shape in shapes]
    rooms = [-(-size // ALIGN) * ALIGN for size in sizes]
    total = sum(rooms)
    on_huge_pages = like.device.type == "cpu" and total * like.element_size() >= HUGE_PAGE
    flat = _huge(total, like.dtype) if on_huge_pages else like.new_empty(total)
    parts = torch.split(flat, rooms)
    return [part[:size].view(shape) for part, size, shape in zip(parts, sizes, shapes, strict=True)]


def _huge(count: int, dtype: torch.dtype) -> Tensor:
    if not hasattr(mmap, "MADV_HUGEPAGE"):
        return torch.empty(count, dtype=dtype)
    size = count * dtype.itemsize
    room = -(-size // HUGE_PAGE) * HUGE_PAGE + HUGE_PAGE  # enough to start on a huge page
    # Shared memory, which is Python's default, never gets huge pages.
    block = mmap.mmap(-1, room, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    try:
        block.madvise(mmap.MADV_HUGEPAGE)
    except OSError:  # the kernel has none
        return torch.empty(count, dtype=dtype)
    start = -torch.frombuffer(block, dtype=torch.uint8, count=1).data_ptr() % HUGE_PAGE
    return torch.frombuffer(block, dtype=dtype, count=count, offset=start)
