"""Cheaper matrix products for the chain's drift.

A Langevin proposal may use any deterministic function of the state as its drift: the log-ratio
judges both directions with the same function, so Metropolis-Hastings stays exact as long as the
potential in it is (Roberts and Tweedie 1996). Only the products of the decoder's data-backward are
rounded; its forward, from which the potential comes, is not. The weights' gradients are built on
the rounded ones.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lae_fast.models.mlp import Product


def bf16_mm(a: Tensor, b: Tensor, /, *, out: Tensor) -> Tensor:
    """``a b`` with factors and result rounded to bfloat16, in the dtype of ``out``."""
    return out.copy_(torch.mm(a.bfloat16(), b.bfloat16()))


def tf32_mm(a: Tensor, b: Tensor, /, *, out: Tensor) -> Tensor:
    """``a b`` with TensorFloat-32 factors on CUDA, in float32 elsewhere."""
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = True
    try:
        result: Tensor = torch.mm(a, b, out=out)
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before
    return result


DRIFT_PRODUCTS: dict[str, Product] = {"float32": torch.mm, "tf32": tf32_mm, "bf16": bf16_mm}
"""By the names in `lae_fast.config.PRECISIONS`."""
