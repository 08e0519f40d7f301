"""The fused operators: chains, networks, and a reference beside each.

The chains' public names are here; see `lae_fast.ops.chains`.
"""

from lae_fast.ops.chains import propose_rows, step_rows_
from lae_fast.ops.loader import build_info, cuda_image, has_cuda_kernels

__all__ = ["build_info", "cuda_image", "has_cuda_kernels", "propose_rows", "step_rows_"]
