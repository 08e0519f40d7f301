"""The multilayer perceptron: blocks of Linear, LayerNorm and ReLU, then a last Linear.

`MLP` is an ordinary module, so autograd works on it. It also has an explicit forward and backward
(`forward_saved`, `backward_data`, `add_weight_grads`), because a sampler needs what autograd does
not offer: the gradient with respect to the input now, and the weight gradients later, only for the
states that the chain keeps.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lae_fast.models.memory import empty_together
from lae_fast.ops import networks


class Product(Protocol):
    """Multiplies matrices into ``out``, as `torch.mm` does."""

    def __call__(self, a: Tensor, b: Tensor, /, *, out: Tensor) -> Tensor:
        """Write the product ``a b`` to ``out`` and return it."""
        ...


@dataclass
class SavedBlock:
    """Buffers of one block, ``(n, d_out)``; ``rstd`` is ``(n,)``."""

    normed: Tensor
    """LayerNorm's normalised values."""
    rstd: Tensor
    output: Tensor
    grad_norm: Tensor
    """dV/d(LayerNorm output)."""
    grad_linear: Tensor
    """dV/d(Linear output)."""

    def rows(self) -> list[Tensor]:
        """The tensors that weight gradients are computed from, one row per image."""
        return [self.normed, self.output, self.grad_norm, self.grad_linear]


@dataclass
class Saved:
    """Buffers of one pass through an `MLP`; the next pass can use them again.

    ``output`` is the last Linear's product, without its bias; dV/d(output) is written over it.
    None if the MLP ends on a block.
    """

    input: Tensor
    blocks: list[SavedBlock]
    output: Tensor | None

    @property
    def features(self) -> Tensor:
        """The last block's output, ``(n, hidden)``."""
        return self.blocks[-1].output

    def rows(self) -> list[Tensor]:
        """The tensors that weight gradients are computed from, one row per image."""
        last = [] if self.output is None else [self.output]
        return [self.input, *(t for block in self.blocks for t in block.rows()), *last]

    def part(self, begin: int, end: int) -> Saved:
        """The rows from ``begin`` to ``end``, as views of the same memory."""
        blocks = [SavedBlock(*(t[begin:end] for t in vars(b).values())) for b in self.blocks]
        output = None if self.output is None else self.output[begin:end]
        return Saved(self.input[begin:end], blocks, output)


class Block(nn.Module):
    """Linear, LayerNorm, ReLU; initialised with orthogonal weights and zero biases."""

    def __init__(self, d_in: int, d_out: int) -> None:
        super().__init__()
        self.linear = orthogonal_linear(d_in, d_out)
        self.norm = nn.LayerNorm(d_out)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(n, d_in)`` to ``(n, d_out)``."""
        return F.relu(self.norm(self.linear(x)))


class MLP(nn.Module):
    """``depth`` blocks of width ``hidden``, then a Linear to ``d_out`` when that is given.

    Args:
        d_in: input width.
        hidden: width of every block.
        d_out: output width, or None to end on the last block (an encoder body: its last layer is
            phi, which the sampler moves).
        depth: number of blocks.
    """

    def __init__(self, d_in: int, hidden: int, d_out: int | None, depth: int = 3) -> None:
        super().__init__()
        widths = [d_in] + [hidden] * depth
        self.blocks = nn.ModuleList(Block(a, b) for a, b in pairwise(widths))
        self.last = None if d_out is None else orthogonal_linear(hidden, d_out)

    @property
    def _typed_blocks(self) -> list[Block]:
        return cast("list[Block]", list(self.blocks))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(n, d_in)`` to ``(n, d_out)`` (``(n, hidden)`` without a last Linear)."""
        for block in self.blocks:
            x = block(x)
        return x if self.last is None else self.last(x)

    def new_saved(self, n: int) -> Saved:
        """Buffers for passes of ``n`` rows."""
        like = next(self.parameters())
        linears = [block.linear for block in self._typed_blocks]
        widths = [linear.out_features for linear in linears]
        shapes: list[tuple[int, ...]] = [(n, linears[0].in_features)]
        shapes += [] if self.last is None else [(n, self.last.out_features)]
        for width in widths:
            shapes += [(n, width), (n,), (n, width), (n, width), (n, width)]
        x, *rest = empty_together(shapes, like)
        output = None if self.last is None else rest.pop(0)
        blocks = [SavedBlock(*rest[5 * i : 5 * i + 5]) for i in range(len(widths))]
        return Saved(x, blocks, output)

    @torch.no_grad()
    def forward_saved(self, x: Tensor, saved: Saved) -> None:
        """Fill ``saved`` with a forward pass; the last bias is not added."""
        if x.data_ptr() != saved.input.data_ptr():
            saved.input.copy_(x)
        x = saved.input
        for block, kept in zip(self._typed_blocks, saved.blocks, strict=True):
            linear, norm = block.linear, block.norm
            torch.mm(x, linear.weight.T, out=kept.normed)
            networks.norm_relu_(
                kept.normed, linear.bias, norm.weight, norm.bias, kept.output, kept.rstd, norm.eps
            )
            x = kept.output
        if self.last is not None:
            assert saved.output is not None
            torch.mm(x, self.last.weight.T, out=saved.output)

    @torch.no_grad()
    def backward_data(
        self,
        saved: Saved,
        product: Product = torch.mm,
        grad_input: Tensor | None = None,
        added: Tensor | None = None,
    ) -> None:
        """Fill ``saved`` with the layers' gradients, from the gradient of the output.

        The caller has written that into ``saved.output``, or, if the MLP ends on a block, into
        that block's ``grad_norm``.

        Args:
            saved: from `forward_saved`.
            product: multiplies a gradient with a weight matrix.
            grad_input: receives the gradient with respect to the input, ``(n, d_in)``, in the same
                launch as the first block's.
            added: is added to ``grad_input``, ``(n, d_in)``.
        """
        blocks = self._typed_blocks
        if self.last is not None:
            assert saved.output is not None
            product(saved.output, self.last.weight, out=saved.blocks[-1].grad_norm)
        for i in reversed(range(len(blocks))):
            block, kept = blocks[i], saved.blocks[i]
            inner = (kept.grad_norm, kept.normed, kept.output, kept.rstd, block.norm.weight)
            outer = (
                (block.linear.weight, added, grad_input)
                if i == 0 and grad_input is not None
                else ()
            )
            networks.norm_relu_backward_(*inner, kept.grad_linear, *outer)
            if i > 0:
                below = saved.blocks[i - 1].grad_norm
                product(kept.grad_linear, block.linear.weight, out=below)

    @torch.no_grad()
    def grad_input(self, saved: Saved) -> Tensor:
        """Gradient with respect to the input, ``(n, d_in)``, after `backward_data`."""
        return saved.blocks[0].grad_linear @ self._typed_blocks[0].linear.weight

    @torch.no_grad()
    def add_weight_grads(self, saved: Saved, weight: float) -> None:
        """Add ``weight`` times the gradients of the pass in ``saved`` to ``parameter.grad``."""
        x = saved.input
        for block, kept in zip(self._typed_blocks, saved.blocks, strict=True):
            linear, norm = block.linear, block.norm
            into = (grad_of(norm.weight), grad_of(norm.bias), grad_of(linear.bias))
            networks.add_norm_grads_(*into, kept.grad_norm, kept.normed, kept.grad_linear, weight)
            grad_of(linear.weight).addmm_(kept.grad_linear.T, x, alpha=weight)
            x = kept.output
        if self.last is not None:
            assert saved.output is not None
            grad_of(self.last.bias).add_(saved.output.sum(0), alpha=weight)
            grad_of(self.last.weight).addmm_(saved.output.T, x, alpha=weight)


def orthogonal_linear(d_in: int, d_out: int) -> nn.Linear:
    """A Linear with orthogonal weight and zero bias (Taniguchi et al. 2022)."""
    layer = nn.Linear(d_in, d_out)
    nn.init.orthogonal_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def grad_of(parameter: Tensor) -> Tensor:
    """``parameter.grad``; zeros if there was none."""
    if parameter.grad is None:
        parameter.grad = torch.zeros_like(parameter)
    return parameter.grad
