"""Plain PyTorch versions that the fused code is compared with: the formulas, line by line."""

from __future__ import annotations

import torch
from torch import Tensor


def eager_propose_rows(x: Tensor, grad: Tensor, step_sizes: Tensor, temperature: float) -> Tensor:
    """Proposals of chains that are rows, with a step size per dimension, or one for all."""
    noise = torch.randn_like(x)
    return x - step_sizes * grad + torch.sqrt(2 * step_sizes * temperature) * noise


def eager_step_rows(
    x: Tensor,
    grad: Tensor,
    potential: Tensor,
    proposal: Tensor,
    grad_proposal: Tensor,
    potential_proposal: Tensor,
    step_sizes: Tensor,
    temperature: float,
) -> tuple[Tensor, ...]:
    """Accept or reject every row, then draw the next proposals."""
    forward = proposal - x + step_sizes * grad
    reverse = x - proposal + step_sizes * grad_proposal
    square = ((forward.square() - reverse.square()) / (4 * step_sizes * temperature)).sum(1)
    log_ratio = (potential - potential_proposal) / temperature + square
    moved = torch.log(torch.rand_like(potential)) < log_ratio
    x = torch.where(moved[:, None], proposal, x)
    grad = torch.where(moved[:, None], grad_proposal, grad)
    potential = torch.where(moved, potential_proposal, potential)
    return x, grad, potential, eager_propose_rows(x, grad, step_sizes, temperature), moved


def synchronise(device: str) -> None:
    """Wait for the device, so that a timing covers the work and not only its launch."""
    if device == "cuda":
        torch.cuda.synchronize()
