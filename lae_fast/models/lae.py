"""The Langevin autoencoder (Taniguchi et al. 2022): encoder body, phi, decoder, likelihood."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from lae_fast.models.autoencoder import Autoencoder
from lae_fast.models.likelihoods import Likelihood
from lae_fast.models.mlp import MLP

EVALUATION_STD = 0.05
"""Standard deviation of z around phi g(x) in evaluation (Taniguchi et al. 2022)."""


class LAE(Autoencoder):
    """Latents are ``z = phi g(x; psi)``; the decoder ``theta`` gives ``p(x | z)``.

    In evaluation q(z | x) is N(phi g(x), 0.05^2). ``phi`` is a buffer: it is
    saved and moved to devices with the model, and no optimiser touches it.

    Args:
        encoder: maps ``(n, d_x)`` to features ``(n, d_h)``; its weights are psi.
        decoder: maps ``(n, d_z)`` to the likelihood's parameters ``(n, d_x)``.
        likelihood: p(x | decoder output).
        feature_dim: d_h.
        latent_dim: d_z.
    """

    phi: Tensor

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        likelihood: Likelihood,
        feature_dim: int,
        latent_dim: int,
    ) -> None:
        super().__init__(encoder, decoder, likelihood, latent_dim)
        phi = torch.empty(latent_dim, feature_dim)
        self.register_buffer("phi", nn.init.orthogonal_(phi))

    @property
    def own_entropy(self) -> float:
        """Entropy of q(z | x), nats, less the constant that the prior's normalisation cancels."""
        return self.latent_dim * (0.5 + math.log(EVALUATION_STD))

    def law(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """``phi g(x)``, and 0.05 everywhere."""
        mean = self.encoder(x) @ self.phi.T
        return mean, torch.full_like(mean, EVALUATION_STD)

    def terms(self, x: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """-log p(x | z) and ``||z||^2 / 2`` at ``z = phi g(x) + 0.05 noise``, each ``(n,)``."""
        z = self.draw(x, noise)
        return self.nll(x, z), 0.5 * z.square().sum(1)


def mlp_lae(image_dim: int, latent_dim: int, hidden: int, likelihood: Likelihood) -> LAE:
    """The fully connected LAE of Bisht (2023): three blocks each way, mirrored."""
    return LAE(
        MLP(image_dim, hidden, None),
        MLP(latent_dim, hidden, image_dim),
        likelihood,
        feature_dim=hidden,
        latent_dim=latent_dim,
    )
