"""The specification of the network operators in plain PyTorch; see `lae_fast.ops.networks`."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

BIN = 1 / 255
"""Width of a grey level's bin."""


def norm_relu_(
    u: Tensor, bias: Tensor, gain: Tensor, shift: Tensor, y: Tensor, rstd: Tensor, eps: float
) -> None:
    """Write ReLU(LayerNorm(u + bias)) to ``y``: what `lae_fast.ops.networks.norm_relu_` does."""
    u += bias
    u -= u.mean(1, keepdim=True)
    rstd.copy_(torch.rsqrt(u.square().mean(1) + eps))
    u *= rstd[:, None]
    y.copy_(F.relu(u * gain + shift))


def norm_relu_backward_(
    grad: Tensor,
    normed: Tensor,
    y: Tensor,
    rstd: Tensor,
    gain: Tensor,
    grad_u: Tensor,
    weight: Tensor | None = None,
    added: Tensor | None = None,
    grad_input: Tensor | None = None,
) -> None:
    """Take ``grad`` back through ReLU and LayerNorm, as `lae_fast.ops.networks` says."""
    grad.masked_fill_(~(y > 0), 0.0)
    scaled = grad * gain
    slope = (scaled * normed).mean(1, keepdim=True)
    grad_u.copy_(rstd[:, None] * (scaled - scaled.mean(1, keepdim=True) - normed * slope))
    if weight is not None and grad_input is not None:
        grad_input.copy_(grad_u @ weight if added is None else grad_u @ weight + added)


def add_norm_grads_(
    gain_grad: Tensor,
    shift_grad: Tensor,
    bias_grad: Tensor,
    grad: Tensor,
    normed: Tensor,
    grad_u: Tensor,
    weight: float,
) -> None:
    """Add the vector gradients of LayerNorm and a Linear, as `lae_fast.ops.networks` says."""
    gain_grad.add_((grad * normed).sum(0), alpha=weight)
    shift_grad.add_(grad.sum(0), alpha=weight)
    bias_grad.add_(grad_u.sum(0), alpha=weight)


def copy_rows_(into: Sequence[Tensor], source: Sequence[Tensor], rows: Tensor, where: bool) -> None:
    """Copy the chosen rows of every ``source`` to its ``into``."""
    for target, new in zip(into, source, strict=True):
        mask = (rows == where).view(-1, *[1] * (target.dim() - 1))
        target.copy_(torch.where(mask, new, target))


def bernoulli_grad_(output: Tensor, bias: Tensor, x: Tensor) -> Tensor:
    """-log p of every image, float64 ``(n,)``; ``output`` becomes its gradient."""
    logits = output + bias
    values = F.binary_cross_entropy_with_logits(logits, x, reduction="none")
    output.copy_(torch.sigmoid(logits) - x)
    return values.sum(1, dtype=torch.float64)


def gaussian_grad_(
    output: Tensor, bias: Tensor, x: Tensor, log_scale: Tensor
) -> tuple[Tensor, Tensor]:
    """-log N of every image and its derivative by log scale; ``output`` becomes the gradient."""
    difference = output + bias - x
    grad = difference * torch.exp(-2 * log_scale)
    squares = (difference * grad).sum(1, dtype=torch.float64)
    output.copy_(grad)
    constant = log_scale.double() + 0.5 * math.log(2 * math.pi)
    return 0.5 * squares + x.shape[1] * constant, x.shape[1] - squares


def discretized_logistic_grad_(
    output: Tensor, bias: Tensor, x: Tensor, log_scale: Tensor
) -> tuple[Tensor, Tensor]:
    """As `gaussian_grad_`, for a logistic density integrated over each grey level's bin."""
    location = output + bias
    inverse = torch.exp(-log_scale)
    low, high = (x - BIN / 2 - location) * inverse, (x + BIN / 2 - location) * inverse
    black, white, width = x <= BIN / 2, x >= 1 - BIN / 2, BIN * inverse
    inner = ~(black | white)
    log_mass = (
        F.logsigmoid(high).masked_fill(white, 0.0)
        + F.logsigmoid(-low).masked_fill(black, 0.0)
        + torch.log(-torch.expm1(-width)) * inner
    )
    from_high = torch.sigmoid(-high).masked_fill(white, 0.0)
    from_low = torch.sigmoid(low).masked_fill(black, 0.0)
    by_scale = from_high * high - from_low * low + inner * (width / torch.expm1(width))
    output.copy_((from_high - from_low) * inverse)
    return -log_mass.sum(1, dtype=torch.float64), by_scale.sum(1, dtype=torch.float64)
