"""Inputs for the tests of the networks' operators, and a call of each operator on them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from helpers.ops_cases import lay_out

EPS = 1e-5


@dataclass
class Layer:
    """Matrices ``(n, d)``, vectors ``(d,)`` and ``(n,)``, pixels, a scale, a mask of rows."""

    a: Tensor
    b: Tensor
    c: Tensor
    x: Tensor
    bias: Tensor
    gain: Tensor
    shift: Tensor
    rows: Tensor
    log_scale: Tensor
    chosen: Tensor

    def clone(self) -> Layer:
        return Layer(*(t.clone() for t in self.__dict__.values()))

    def double(self) -> Layer:
        return Layer(*(t.double() if t.is_floating_point() else t for t in self.__dict__.values()))


def make_layer(
    shape: tuple[int, int],
    dtype: torch.dtype,
    *,
    device: str,
    layout: str = "contiguous",
    seed: int,
) -> Layer:
    generator = torch.Generator().manual_seed(seed % 2**31)
    n, d = shape

    def draw(*size: int) -> Tensor:
        values = torch.randn(size, generator=generator, dtype=dtype).to(device)
        return lay_out(values, layout)

    x = torch.randint(0, 256, shape, generator=generator).to(dtype) / 255
    x[:, : d // 4] = 0.0
    x[:, d // 4 : d // 2] = 1.0
    log_scale = torch.tensor(-2.3 + seed % 3, dtype=dtype, device=device)
    chosen = torch.rand(n, generator=generator) < 0.4
    return Layer(
        3 * draw(*shape),
        draw(*shape),
        draw(*shape),
        lay_out(x.to(device), layout),
        draw(d),
        draw(d),
        draw(d),
        draw(n).abs() + 0.1,
        log_scale,
        chosen.to(device),
    )


Run = Callable[[Any, Layer], tuple[Tensor, ...]]


def norm_relu(module: Any, t: Layer) -> tuple[Tensor, ...]:
    module.norm_relu_(t.a, t.bias, t.gain, t.shift, t.b, t.rows, EPS)
    return t.a, t.b, t.rows


def norm_relu_backward(module: Any, t: Layer) -> tuple[Tensor, ...]:
    module.norm_relu_backward_(t.a, t.b, t.c, t.rows, t.gain, t.x)
    return t.a, t.x


def norm_relu_backward_to_the_input(module: Any, t: Layer) -> tuple[Tensor, ...]:
    n, d = t.a.shape
    k = min(3, d)
    weight = torch.stack([t.gain, t.shift, t.bias][:k], 1) / math.sqrt(d)
    added = t.c[:, :k].clone()
    first, second = t.a.new_empty(n, k), t.a.new_empty(n, k)
    again = t.a.clone(), t.x.clone()
    module.norm_relu_backward_(t.a, t.b, t.c, t.rows, t.gain, t.x, weight, added, first)
    module.norm_relu_backward_(again[0], t.b, t.c, t.rows, t.gain, again[1], weight, None, second)
    return t.a, t.x, first, second


def add_norm_grads(module: Any, t: Layer) -> tuple[Tensor, ...]:
    module.add_norm_grads_(t.gain, t.shift, t.bias, t.a, t.b, t.c, 0.3)
    return t.gain, t.shift, t.bias


def bernoulli(module: Any, t: Layer) -> tuple[Tensor, ...]:
    return t.a, module.bernoulli_grad_(t.a, t.bias, t.x)


def gaussian(module: Any, t: Layer) -> tuple[Tensor, ...]:
    return t.a, *module.gaussian_grad_(t.a, t.bias, t.x, t.log_scale)


def discretized_logistic(module: Any, t: Layer) -> tuple[Tensor, ...]:
    return t.a, *module.discretized_logistic_grad_(t.a, t.bias, t.x, t.log_scale)


RUNS = (
    norm_relu,
    norm_relu_backward,
    norm_relu_backward_to_the_input,
    add_norm_grads,
    bernoulli,
    gaussian,
    discretized_logistic,
)
