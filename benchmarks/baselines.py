"""Plain PyTorch versions that the fused code is compared with: the formulas, line by line."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

Step = Callable[..., tuple[Tensor, ...]]


def eager_step(
    phi: Tensor, grad: Tensor, potential: Tensor, proposal: Tensor, noise_sq: Tensor,
    grad_proposal: Tensor, potential_proposal: Tensor, step_size: float, temperature: float,
) -> tuple[Tensor, ...]:  # fmt: skip
    """Accept or reject the pending proposal, then draw the next one, without a host round trip."""
    reverse = phi - proposal + step_size * grad_proposal
    log_ratio = (
        (potential - potential_proposal) / temperature
        - reverse.square().sum() / (4 * step_size * temperature)
        + noise_sq / 2
    )
    accept = torch.log(torch.rand_like(potential)) < log_ratio
    phi = torch.where(accept, proposal, phi)
    grad = torch.where(accept, grad_proposal, grad)
    potential = torch.where(accept, potential_proposal, potential)
    noise = torch.randn_like(phi)
    proposal = phi - step_size * grad + math.sqrt(2 * step_size * temperature) * noise
    return phi, grad, potential, proposal, noise.square().sum(), accept


def synchronise(device: str) -> None:
    """Wait for the device, so that a timing covers the work and not only its launch."""
    if device == "cuda":
        torch.cuda.synchronize()
