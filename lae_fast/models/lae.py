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

    In evaluation q(z | x) is N(phi g(x), 0.05^2), or with a Gaussian start the law of that start.
    ``phi`` is a buffer: it is saved and moved to devices with the model, and no optimiser touches
    it.

    Args:
        encoder: maps ``(n, d_x)`` to features ``(n, d_h)``; its weights are psi.
        decoder: maps ``(n, d_z)`` to the likelihood's parameters ``(n, d_x)``.
        likelihood: p(x | decoder output).
        feature_dim: d_h.
        latent_dim: d_z.
        gaussian_start: whether the model has a law ``q(z | x) = N(phi g(x), sigma(x)^2)`` of the
            chain's start, with ``sigma(x) = exp(omega g(x) + b)``; omega and b are `spread`.
    """

    phi: Tensor

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        likelihood: Likelihood,
        feature_dim: int,
        latent_dim: int,
        *,
        gaussian_start: bool = False,
    ) -> None:
        super().__init__(encoder, decoder, likelihood, latent_dim)
        phi = torch.empty(latent_dim, feature_dim)
        self.register_buffer("phi", nn.init.orthogonal_(phi))
        self.spread = nn.Linear(feature_dim, latent_dim) if gaussian_start else None

    @property
    def own_entropy(self) -> float:
        """What `terms` leaves out of the negative ELBO, nats per image.

        Nothing with a Gaussian start. Without, the entropy of q(z | x), less the constant that the
        prior's normalisation cancels.
        """
        if self.spread is not None:
            return 0.0
        return self.latent_dim * (0.5 + math.log(EVALUATION_STD))

    def code(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """``phi g(x)``, and log ``sigma(x)`` or, without a Gaussian start, log 0.05 everywhere."""
        features: Tensor = self.encoder(x)
        mean = features @ self.phi.T
        if self.spread is None:
            return mean, torch.full_like(mean, math.log(EVALUATION_STD))
        return mean, self.spread(features)

    def terms(self, x: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """-log p(x | z) at a draw from q(z | x), and the prior's term, each ``(n,)``.

        That term is KL(q || N(0, I)) with a Gaussian start, and ``||z||^2 / 2`` without.
        """
        if self.spread is not None:
            return super().terms(x, noise)
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
