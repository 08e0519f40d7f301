"""Targets whose law is known in closed form, and how to judge a sampler against them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lae_fast.sampling.diagnostics import effective_sample_size


@dataclass(frozen=True)
class LinearGaussian:
    """x | z ~ N(A z, s^2 I) with z ~ N(0, I): the posterior of every z_i is Gaussian.

    mean_i = cov A^T x_i / s^2,  cov = (I + A^T A / s^2)^-1, the same for all i.
    """

    weight: Tensor  # A, (d_x, d_z)
    scale: float  # s
    x: Tensor  # (n, d_x)
    features: Tensor  # h, (n, d_h), full row rank

    @property
    def latent_dim(self) -> int:
        return self.weight.shape[1]

    @property
    def cov(self) -> Tensor:
        eye = torch.eye(self.latent_dim, dtype=self.weight.dtype)
        return torch.linalg.inv(eye + self.weight.T @ self.weight / self.scale**2)

    @property
    def mean(self) -> Tensor:
        return self.x @ self.weight @ self.cov / self.scale**2

    @property
    def log_evidence(self) -> Tensor:
        """log p(x_i), (n,)."""
        d = self.x.shape[1]
        cov = self.weight @ self.weight.T + self.scale**2 * torch.eye(d, dtype=self.x.dtype)
        law = torch.distributions.MultivariateNormal(torch.zeros(d, dtype=self.x.dtype), cov)
        return law.log_prob(self.x)

    def nll(self, z: Tensor) -> Tensor:
        square = (self.x - z @ self.weight.T).square().sum(1) / (2 * self.scale**2)
        return square + self.x.shape[1] * math.log(self.scale * math.sqrt(2 * math.pi))

    def potential(self, phi: Tensor) -> tuple[Tensor, Tensor]:
        """V and grad V over phi, written out."""
        z = self.features @ phi.T
        value = self.nll(z).sum() + z.square().sum() / 2
        grad_z = (z @ self.weight.T - self.x) @ self.weight / self.scale**2 + z
        return value.double(), grad_z.T @ self.features


def linear_gaussian(
    seed: int,
    n: int = 3,
    d_z: int = 2,
    d_h: int = 4,
    d_x: int = 3,
    scale: float = 0.7,
    condition: float = 1.0,
) -> LinearGaussian:
    """A random instance; ``condition`` > 1 gives the features a dominant mean direction."""
    generator = torch.Generator().manual_seed(seed)

    def randn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    features = randn(n, d_h) + (condition - 1) * torch.ones(n, d_h, dtype=torch.float64)
    return LinearGaussian(randn(d_x, d_z), scale, randn(n, d_x), features)


def worst_z_scores(draws: Tensor, mean: Tensor, cov: Tensor) -> tuple[float, float, int]:
    """Largest standardised errors of a sampler's mean and second moments against a Gaussian.

    Errors are divided by their Monte Carlo standard errors, which use the effective sample size
    of each quantity, so each score is about N(0, 1) for a correct sampler.

    Args:
        draws: (chains, draws, n, d_z); mean: (n, d_z); cov: (d_z, d_z), shared by all n.

    Returns:
        worst |z| over means, worst |z| over second moments, number of scores looked at.
    """
    centred = draws - mean
    d = cov.shape[0]
    rows, cols = torch.triu_indices(d, d)
    products = centred[..., rows] * centred[..., cols]
    first = _scores(centred, torch.zeros_like(mean))
    second = _scores(products, cov[rows, cols].expand(products.shape[2:]))
    return float(np.abs(first).max()), float(np.abs(second).max()), first.size + second.size


def _scores(draws: Tensor, expected: Tensor) -> np.ndarray:
    sample_mean = draws.mean((0, 1)).numpy()
    sd = draws.flatten(0, 1).std(0).numpy()
    return (sample_mean - expected.numpy()) / (sd / np.sqrt(effective_sample_size(draws)))
