"""The fused operators: chains, networks, and a reference beside each.

The chains' public names are here; see `lae_fast.ops.chains`.
"""

from lae_fast.ops.chains import (
    build_info,
    cuda_image,
    has_cuda_kernels,
    log_ratio,
    propose,
    propose_rows,
    step_,
    step_rows_,
)

__all__ = [
    "build_info",
    "cuda_image",
    "has_cuda_kernels",
    "log_ratio",
    "propose",
    "propose_rows",
    "step_",
    "step_rows_",
]
