"""Plain PyTorch versions that the fused code is compared with: the formulas, line by line."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

Step = Callable[..., tuple[Tensor, ...]]


def eager_step(
    phi: Tensor,
    grad: Tensor,
    potential: Tensor,
    proposal: Tensor,
    noise_sq: Tensor,
    grad_proposal: Tensor,
    potential_proposal: Tensor,
    step_size: float,
    temperature: float,
) -> tuple[Tensor, ...]:
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


def eager_propose(phi: Tensor, grad: Tensor, step_size: float, temperature: float) -> Tensor:
    """A Langevin proposal."""
    return phi - step_size * grad + math.sqrt(2 * step_size * temperature) * torch.randn_like(phi)


def eager_log_ratio(
    phi: Tensor,
    grad: Tensor,
    potential: Tensor,
    proposal: Tensor,
    grad_proposal: Tensor,
    potential_proposal: Tensor,
    step_size: float,
    temperature: float,
) -> Tensor:
    """The Metropolis-Hastings log-ratio, both directions written out."""
    forward = proposal - phi + step_size * grad
    reverse = phi - proposal + step_size * grad_proposal
    square = (forward.square().sum() - reverse.square().sum()) / (4 * step_size * temperature)
    return (potential - potential_proposal) / temperature + square


def eager_propose_rows(x: Tensor, grad: Tensor, step_sizes: Tensor, temperature: float) -> Tensor:
    """Proposals of chains that are rows, with a step size a dimension."""
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
