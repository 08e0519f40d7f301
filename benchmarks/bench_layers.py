"""The network operators against eager PyTorch, torch.compile, and a copy of the same bytes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from baselines import synchronise

from lae_fast.ops import networks, networks_ref

BATCH, HIDDEN, PIXELS = 512, 256, 784


def tensors(device: str, width: int) -> dict[str, torch.Tensor]:
    names = ("u", "y", "grad", "grad_u", "x")
    made = {name: torch.rand(BATCH, width, device=device) for name in names}
    vectors = {name: torch.rand(width, device=device) for name in ("bias", "gain", "shift")}
    return made | vectors | {"rstd": torch.rand(BATCH, device=device)}


def norm_relu(module: Any, t: dict[str, torch.Tensor]) -> Callable[[], object]:
    args = (t["u"], t["bias"], t["gain"], t["shift"], t["y"], t["rstd"], 1e-5)
    return lambda: module.norm_relu_(*args)


def norm_relu_backward(module: Any, t: dict[str, torch.Tensor]) -> Callable[[], object]:
    args = (t["grad"], t["u"], t["y"], t["rstd"], t["gain"], t["grad_u"])
    return lambda: module.norm_relu_backward_(*args)


def bernoulli(module: Any, t: dict[str, torch.Tensor]) -> Callable[[], object]:
    return lambda: module.bernoulli_grad_(t["u"], t["bias"], t["x"])


def gaussian(module: Any, t: dict[str, torch.Tensor]) -> Callable[[], object]:
    scale = torch.tensor(-2.3, device=t["u"].device)
    return lambda: module.gaussian_grad_(t["u"], t["bias"], t["x"], scale)


def discretized_logistic(module: Any, t: dict[str, torch.Tensor]) -> Callable[[], object]:
    scale = torch.tensor(-2.3, device=t["u"].device)
    return lambda: module.discretized_logistic_grad_(t["u"], t["bias"], t["x"], scale)


def norm_grads(module: Any, t: dict[str, torch.Tensor]) -> Callable[[], object]:
    args = (t["gain"], t["shift"], t["bias"], t["grad"], t["u"], t["grad_u"], 1e-9)
    return lambda: module.add_norm_grads_(*args)


def copy_rows(module: Any, t: dict[str, torch.Tensor]) -> Callable[[], object]:
    """Every second row."""
    rows = torch.arange(BATCH, device=t["u"].device) % 2 == 0
    return lambda: module.copy_rows_([t["u"]], [t["y"]], rows, True)


# operator -> its call, the width of its matrices, how many of them it reads or writes
CASES = {
    "norm_relu_": (norm_relu, HIDDEN, 3),
    "norm_relu_backward_": (norm_relu_backward, HIDDEN, 5),
    "add_norm_grads_": (norm_grads, HIDDEN, 3),
    "copy_rows_": (copy_rows, PIXELS, 1),
    "bernoulli_grad_": (bernoulli, PIXELS, 3),
    "gaussian_grad_": (gaussian, PIXELS, 3),
    "discretized_logistic_grad_": (discretized_logistic, PIXELS, 3),
}


@pytest.mark.parametrize("variant", ["eager", "compile", "fused", "copy of as many bytes"])
@pytest.mark.parametrize("op", CASES)
def test_layer(benchmark: Any, op: str, device: str, variant: str) -> None:
    make, width, streams = CASES[op]
    benchmark.group = f"{op}, {BATCH}x{width}, {device}"
    benchmark.extra_info |= {
        "variant": variant,
        "baseline": "eager",
        "floor": "copy of as many bytes" if variant == "fused" else None,
    }
    t = tensors(device, width)
    run: Callable[[], object]
    if variant == "copy of as many bytes":
        source = torch.rand(BATCH * width * streams // 2, device=device)
        target = torch.empty_like(source)
        run = lambda: target.copy_(source)  # noqa: E731
    else:
        run = make(networks if variant == "fused" else networks_ref, t)
        run = torch.compile(run, dynamic=False) if variant == "compile" else run

    def whole() -> None:
        run()
        synchronise(device)

    try:
        whole()
    except torch._dynamo.exc.BackendCompilerFailed as error:  # torch.compile's, not ours
        pytest.skip(f"torch.compile fails: {error}")
    benchmark.pedantic(whole, rounds=200, warmup_rounds=5)
