"""One training iteration of Algorithm 2: the trainers against straightforward PyTorch, and against
the bare matrix products of the same shapes; on CUDA both also as one graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import iterations as it
import pytest
from iterations import Setting

SETTINGS = [Setting(2), Setting(50), Setting(2, batch=100, hidden=1024)]
VARIANTS: dict[str, Callable[[Setting, str], it.Run]] = {
    "naive": it.naive,
    "carried state": it.carried,
    "carried state, torch.compile": lambda s, d: it.carried(s, d, compiled=True),
    "fused, one decision per batch": it.fused,
    "fused, one decision per image": it.per_image,
    "matrix products, one decision per batch": lambda s, d: it.products(
        s, d, it.retained_states(s, d)
    ),
    "matrix products, one decision per image": lambda s, d: it.products(s, d, s.steps),
}
FLOORS = {
    "fused, one decision per batch": "matrix products, one decision per batch",
    "fused, one decision per image": "matrix products, one decision per image",
}
GRAPH = ", CUDA graph"
GRAPHS: dict[str, Callable[[Setting, str], it.Run]] = {
    f"fused, one decision per batch{GRAPH}": it.fused_graph,
    f"fused, one decision per image{GRAPH}": it.per_image_graph,
    f"products{GRAPH}": lambda s, d: it.captured(it.products(s, d, s.steps)),
}
FLOORS |= {name: f"products{GRAPH}" for name in GRAPHS if name.startswith("fused")}
VAES = {"autograd": it.vae_autograd, "fused": it.vae, f"fused{GRAPH}": it.vae_graph}


def needs_graphs(variant: str, device: str) -> None:
    """Leave a graph out where there are none."""
    if variant.endswith(GRAPH) and device != "cuda":
        pytest.skip("graphs are CUDA's")


@pytest.mark.parametrize("variant", VARIANTS | GRAPHS)
@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_iteration(benchmark: Any, setting: Setting, device: str, variant: str) -> None:
    needs_graphs(variant, device)
    benchmark.group = f"iteration, {setting}, {device}"
    benchmark.extra_info |= {"variant": variant, "baseline": "naive", "floor": FLOORS.get(variant)}
    run = it.waiting((VARIANTS | GRAPHS)[variant](setting, device), device)
    benchmark.pedantic(run, rounds=6 if setting.steps > 10 else 40, warmup_rounds=2)


@pytest.mark.parametrize("variant", VAES)
def test_vae(benchmark: Any, device: str, variant: str) -> None:
    needs_graphs(variant, device)
    setting = Setting(0)
    benchmark.group = (
        f"iteration of the VAE, batch {setting.batch}, hidden {setting.hidden}, {device}"
    )
    benchmark.extra_info |= {"variant": variant, "baseline": "autograd"}
    run = it.waiting(VAES[variant](setting, device), device)
    benchmark.pedantic(run, rounds=60, warmup_rounds=3)
