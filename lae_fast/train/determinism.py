"""PyTorch's deterministic algorithms, for runs that ask for them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import torch


@contextlib.contextmanager
def deterministic(wanted: bool) -> Iterator[None]:
    """Allow only deterministic algorithms while entered; PyTorch refuses an operator without one.

    On CUDA cuBLAS needs a fixed workspace, which counts only if it is set before its first use.
    """
    if not wanted:
        yield
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
