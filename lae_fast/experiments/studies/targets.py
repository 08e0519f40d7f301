"""Posteriors in two dimensions that are known: by a formula, or by summing over a fine grid."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from lae_fast.ops.devices import normal

REACH = 5.0
"""The grid covers [-REACH, REACH] in both dimensions; the prior's mass outside is 1e-6."""
CELLS = 25
FINE = 10
"""Points across a cell at which the density is summed."""


@dataclass(frozen=True)
class Target:
    """Data ``x`` ``(n, d_x)``, features ``(n, d_h)`` for ALD, and a decoder with Gaussian noise."""

    name: str
    decoder: nn.Module
    noise: float
    x: Tensor
    features: Tensor

    def to(self, device: torch.device | str) -> Target:
        """The same target on ``device``; the decoder is moved, not copied."""
        x, features = self.x.to(device), self.features.to(device)
        return replace(self, decoder=self.decoder.to(device), x=x, features=features)

    def nll(self, z: Tensor) -> Tensor:
        """-log p(x_i | z_i), ``(n, 2)`` to ``(n,)``."""
        return self.nll_of(z, self.x)

    def nll_of(self, z: Tensor, x: Tensor) -> Tensor:
        """The same for other data."""
        square: Tensor = (self.decoder(z) - x).square().sum(1) / (2 * self.noise**2)
        return square + x.shape[1] * math.log(self.noise * math.sqrt(2 * math.pi))

    def simulate(self, n: int, generator: torch.Generator) -> Tensor:
        """Data from the model itself, ``(n, d_x)``."""
        mean: Tensor = self.decoder(normal((n, 2), generator, self.x))
        return mean + self.noise * normal(mean.shape, generator, mean)

    @torch.no_grad()
    def cell_masses(self) -> Tensor:
        """Posterior mass of every cell of the grid, ``(n, CELLS * CELLS)``, on the CPU."""
        width = 2 * REACH / (CELLS * FINE)
        places = torch.arange(CELLS * FINE, dtype=self.x.dtype, device=self.x.device)
        axis = -REACH + width * (places + 0.5)
        z = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), -1).view(-1, 2)
        masses = []
        for x in self.x:
            log_density = -self.nll_of(z, x[None].expand(len(z), -1)) - z.square().sum(1) / 2
            density = torch.softmax(log_density, 0).view(CELLS, FINE, CELLS, FINE)
            masses.append(density.sum((1, 3)).flatten())
        return torch.stack(masses).cpu()


def cells_of(z: Tensor) -> Tensor:
    """Cell of every point ``(..., 2)``; points outside count in the nearest one."""
    index = ((z + REACH) / (2 * REACH) * CELLS).floor().long().clamp(0, CELLS - 1)
    return index[..., 0] * CELLS + index[..., 1]


def total_variation(draws: Tensor, masses: Tensor) -> float:
    """Between draws ``(k, n, 2)`` and cell masses ``(n, cells)``; mean over the n."""
    return _distance(cells_of(draws).T, masses)


def exact_draws(masses: Tensor, count: int, seed: int) -> float:
    """Total variation of ``count`` independent exact draws: the floor for any sampler."""
    generator = torch.Generator().manual_seed(seed)
    return _distance(torch.multinomial(masses, count, True, generator=generator), masses)


def _distance(cells: Tensor, masses: Tensor) -> float:
    """Total variation between the cells ``(n, k)`` of k draws and the masses; mean over the n."""
    counts = torch.stack([torch.bincount(row, minlength=masses.shape[1]) for row in cells])
    return float((counts / cells.shape[1] - masses).abs().sum(1).mean() / 2)


def conjugate(n: int = 8, seed: int = 0) -> Target:
    """A linear decoder: every posterior is Gaussian."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        decoder = nn.Linear(2, 3)
    return _target("conjugate Gaussian", decoder, 0.7, n, seed)


def neural(n: int = 8, seed: int = 0) -> Target:
    """A small network: posteriors are bent, and some have several modes."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers = nn.Linear(2, 16), nn.Linear(16, 2)
        for layer in layers:
            nn.init.normal_(layer.weight, std=1.5 / math.sqrt(layer.in_features / 2))
    decoder = nn.Sequential(layers[0], nn.Tanh(), layers[1])
    return _target("neural likelihood", decoder, 0.6, n, seed)


def _target(name: str, decoder: nn.Module, noise: float, n: int, seed: int) -> Target:
    generator = torch.Generator().manual_seed(seed)
    decoder = decoder.double().requires_grad_(False)
    features = torch.randn(n, 2 * n, generator=generator, dtype=torch.float64)
    empty = Target(name, decoder, noise, torch.zeros(1, 1, dtype=torch.float64), features)
    return replace(empty, x=empty.simulate(n, generator))
