"""A small beta-VAE on points of the unit square, with an L2 penalty on the weights.

Two hidden layers of 30 ReLU units each way, one or two latents, as in Idler 2022. The
loss is ``||x - x'||^2 + beta KL(q || N(0, I)) + lambda mean(w^2)``. The first two terms are means
over points, and the last is a mean over all weights.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lae_fast.models.autoencoder import gaussian_kl
from lae_fast.ops.devices import normal

HIDDEN = 30
BATCH = 256


class SquareVAE(nn.Module):
    """Maps points ``(n, 2)`` of the unit square to ``latent_dim`` Gaussians and back."""

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.encoder = relu_network(2, HIDDEN, 2 * latent_dim)
        self.decoder = relu_network(latent_dim, HIDDEN, 2)

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log standard deviation, each ``(n, latent_dim)``."""
        mean, log_std = self.encoder(x).chunk(2, dim=1)
        return mean, log_std

    def decode(self, z: Tensor) -> Tensor:
        """Points ``(n, 2)``; not confined to the square."""
        points: Tensor = self.decoder(z)
        return points

    def draw(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """One latent per point."""
        mean, log_std = self.posterior(x)
        return mean + torch.exp(log_std) * normal(mean.shape, generator, mean)


def train_square(
    latent_dim: int,
    beta: float,
    penalty: float,
    *,
    iterations: int,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> SquareVAE:
    """Train on fresh uniform points, Adam 3e-3 falling to zero by a cosine.

    Args:
        latent_dim: 1 or 2.
        beta: weight of the KL term.
        penalty: lambda.
        iterations: batches of 256 points.
        seed: of weights and draws.
        device: where to compute.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = SquareVAE(latent_dim).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, iterations)
    for _ in range(iterations):
        x = torch.rand(BATCH, 2, generator=generator).to(device)
        optimizer.zero_grad()
        loss(model, x, beta, penalty, generator).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    return model.requires_grad_(False)


def loss(
    model: SquareVAE, x: Tensor, beta: float, penalty: float, generator: torch.Generator
) -> Tensor:
    """The training loss on points ``(n, 2)``, 0-d."""
    mean, log_std = model.posterior(x)
    z = mean + torch.exp(log_std) * normal(mean.shape, generator, mean)
    square = (model.decode(z) - x).square().sum(1).mean()
    kl = gaussian_kl(mean, log_std).sum(1).mean()
    weights = torch.cat([p.flatten() for p in model.parameters() if p.ndim == 2])
    return square + beta * kl + penalty * weights.square().mean()


def relu_network(d_in: int, width: int, d_out: int) -> nn.Sequential:
    """Two hidden layers of ``width`` ReLU units."""
    first, second, last = nn.Linear(d_in, width), nn.Linear(width, width), nn.Linear(width, d_out)
    return nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), last)
