"""A draw from an encoder's Gaussian, and gradients through it (Kingma and Welling 2014)."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from lae_fast.models.autoencoder import gaussian_kl


class GaussianDraw:
    """``z = mu + sigma eps`` from an encoder's output, and the bound's gradients through it.

    Args:
        code: mu and log sigma side by side, ``(n, 2 d_z)``.
        noise: eps, ``(n, d_z)``.
    """

    def __init__(self, code: Tensor, noise: Tensor) -> None:
        self.mean, self.log_std = code.chunk(2, dim=1)
        self.std = torch.exp(self.log_std)
        self.noise = noise

    @functools.cached_property
    def z(self) -> Tensor:
        """The draw, ``(n, d_z)``."""
        return self.mean + self.std * self.noise

    def kl(self) -> Tensor:
        """Sum over images of KL(q || N(0, I)), float64."""
        return gaussian_kl(self.mean, self.log_std).sum(dtype=torch.float64)

    def pull_back(self, grad_z: Tensor, kl_weight: float | Tensor = 1.0) -> Tensor:
        """Gradient of the negative bound with respect to the code, given -log p(x | z)'s at z.

        ``kl_weight`` is that of the KL term in the bound.
        """
        by_std = grad_z * self.std * self.noise + kl_weight * (self.std.square() - 1)
        return torch.cat([grad_z + kl_weight * self.mean, by_std], 1)
