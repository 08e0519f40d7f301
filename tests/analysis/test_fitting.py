"""Small networks: the optimiser against torch's, when training ends, and with which weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lae_fast.analysis.fitting import CHECK_EVERY, PATIENCE, Fit, fit_network


def problem() -> tuple[nn.Linear, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(40, 3, generator=generator)
    torch.manual_seed(0)
    return nn.Linear(3, 1), x, x @ torch.tensor([[1.0], [-2.0], [0.5]])


def test_it_is_adam_to_the_bit() -> None:
    layer, x, y = problem()
    fit_network(
        layer,
        lambda index: (layer(x[index]) - y[index]).square().mean(),
        len(x),
        Fit(epochs=5, most_updates=1, batch_size=40, learning_rate=0.05, seed=0),
        device="cpu",
        validate=None,
    )
    other, x, y = problem()
    adam = torch.optim.Adam(other.parameters(), lr=0.05)
    from lae_fast.data import batch_indices

    for epoch in range(5):
        (index,) = batch_indices(40, 40, seed=0, epoch=epoch)
        adam.zero_grad()
        (other(x[index]) - y[index]).square().mean().backward()
        adam.step()
    assert torch.equal(layer.weight, other.weight)
    assert torch.equal(layer.bias, other.bias)


def test_it_ends_soon_after_the_best_and_goes_back_to_it() -> None:
    layer, x, y = problem()
    losses = [5.0, 3.0, 1.0] + [2.0] * 1000
    seen: list[Tensor] = []

    def validate() -> float:
        seen.append(layer.weight.detach().clone())
        return losses[len(seen) - 1]

    updates = fit_network(
        layer,
        lambda index: (layer(x[index]) - y[index]).square().mean(),
        len(x),
        Fit(epochs=None, most_updates=100_000, batch_size=40, learning_rate=0.01, seed=0),
        device="cpu",
        validate=validate,
    )
    assert updates == CHECK_EVERY * (3 + 2 * PATIENCE)
    assert torch.equal(layer.weight, seen[2])
