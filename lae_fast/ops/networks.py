"""The operators of an explicit forward and backward pass: wrappers over ``torch.ops.lae_fast``.

`lae_fast.ops.networks_ref` states what they compute. Matrices are ``(n, d)``, float32 or float64,
one row per image; they live on the CPU or on CUDA, contiguous or not. Wrong shapes, dtypes and
devices raise `RuntimeError` from the operator itself. Nothing here is differentiable.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lae_fast.ops import networks_ref as reference
from lae_fast.ops.loader import operator


def _row_values(output: Tensor) -> Tensor:
    return output.new_empty(output.shape[0], dtype=torch.float64)


def _scaled_values(output: Tensor, *_: Tensor) -> tuple[Tensor, Tensor]:
    return _row_values(output), _row_values(output)


_norm_relu_ = operator("norm_relu_", reference.norm_relu_)
_norm_relu_backward_ = operator("norm_relu_backward_", reference.norm_relu_backward_)
_add_norm_grads_ = operator("add_norm_grads_", reference.add_norm_grads_)
_copy_rows_ = operator("copy_rows_", reference.copy_rows_)
_bernoulli_grad_ = operator(
    "bernoulli_grad_", reference.bernoulli_grad_, lambda output, *_: _row_values(output)
)
_gaussian_grad_ = operator("gaussian_grad_", reference.gaussian_grad_, _scaled_values)
_discretized_logistic_grad_ = operator(
    "discretized_logistic_grad_", reference.discretized_logistic_grad_, _scaled_values
)


def norm_relu_(
    u: Tensor, bias: Tensor, gain: Tensor, shift: Tensor, y: Tensor, rstd: Tensor, eps: float
) -> None:
    """Write ReLU(LayerNorm(u + bias)) to ``y`` and leave the normalised values in ``u``.

    Args:
        u: a Linear's matrix product, ``(n, d)``; becomes ``(u + bias - mean) rstd``.
        bias: the Linear's, ``(d,)``.
        gain, shift: LayerNorm's weight and bias, ``(d,)``.
        y: receives the output, ``(n, d)``.
        rstd: receives each row's ``1 / sqrt(variance + eps)``, ``(n,)``.
        eps: LayerNorm's.
    """
    _norm_relu_(u, bias, gain, shift, y, rstd, eps)


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
    """Take ``grad``, dV/dy, back through ReLU and LayerNorm.

    ``grad`` becomes dV/d(LayerNorm's output), ``grad_u`` receives dV/d(Linear's output); the
    others are as `norm_relu_` left them.

    Args:
        weight: the Linear's, ``(d, k)`` with few inputs k: go on through it too.
        grad_input: receives ``grad_u weight + added``, ``(n, k)``.
        added: ``(n, k)``, or None for nothing.
    """
    _norm_relu_backward_(grad, normed, y, rstd, gain, grad_u, weight, added, grad_input)


def add_norm_grads_(
    gain_grad: Tensor,
    shift_grad: Tensor,
    bias_grad: Tensor,
    grad: Tensor,
    normed: Tensor,
    grad_u: Tensor,
    weight: float = 1.0,
) -> None:
    """Add ``weight`` times a block's vector gradients, ``(d,)``, to the first three arguments.

    They belong to LayerNorm's weight and bias and to the Linear's bias; the matrices are those of
    `norm_relu_backward_`.
    """
    _add_norm_grads_(gain_grad, shift_grad, bias_grad, grad, normed, grad_u, weight)


def copy_rows_(
    into: Sequence[Tensor], source: Sequence[Tensor], rows: Tensor, where: bool = True
) -> None:
    """Copy rows i with ``rows[i] == where`` of every ``source`` to its ``into``.

    ``rows`` is bool ``(n,)``; tensors are ``(n, ...)`` in pairs of one shape and dtype, float32 or
    float64.
    """
    _copy_rows_(into, source, rows, where)


def bernoulli_grad_(output: Tensor, bias: Tensor, x: Tensor) -> Tensor:
    """-log p(x | logits = output + bias) of every image, float64 ``(n,)``.

    ``output`` ``(n, d)`` becomes the gradient of their sum with respect to the logits; ``bias`` is
    the last Linear's, ``(d,)``; pixels ``x`` are in [0, 1].
    """
    values: Tensor = _bernoulli_grad_(output, bias, x)
    return values


def gaussian_grad_(
    output: Tensor, bias: Tensor, x: Tensor, log_scale: Tensor
) -> tuple[Tensor, Tensor]:
    """-log N(x; output + bias, scale^2) of every image and its derivative by log scale.

    Both float64 ``(n,)``; ``output`` becomes the gradient. ``log_scale`` is 0-d, like ``output``.
    """
    result: tuple[Tensor, Tensor] = _gaussian_grad_(output, bias, x, log_scale)
    return result


def discretized_logistic_grad_(
    output: Tensor, bias: Tensor, x: Tensor, log_scale: Tensor
) -> tuple[Tensor, Tensor]:
    """As `gaussian_grad_`, for a logistic density integrated over each grey level's bin."""
    result: tuple[Tensor, Tensor] = _discretized_logistic_grad_(output, bias, x, log_scale)
    return result
