"""The variational autoencoder of the same networks (Kingma and Welling 2014), as a control."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lae_fast.models.autoencoder import Autoencoder
from lae_fast.models.likelihoods import Likelihood
from lae_fast.models.mlp import MLP


class VAE(Autoencoder):
    """``q(z | x) = N(mu(x), diag(sigma(x)^2))``; encoder and decoder as in the LAE.

    Args:
        encoder: maps ``(n, d_x)`` to mu and log sigma side by side, ``(n, 2 d_z)``.
        decoder: maps ``(n, d_z)`` to the likelihood's parameters ``(n, d_x)``.
        likelihood: p(x | decoder output).
        latent_dim: d_z.
    """

    def __init__(
        self, encoder: nn.Module, decoder: nn.Module, likelihood: Likelihood, latent_dim: int
    ) -> None:
        super().__init__(encoder, decoder, likelihood)
        self.latent_dim = latent_dim

    @property
    def own_entropy(self) -> float:
        """0: `terms` are the whole negative ELBO."""
        return 0.0

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log standard deviation of q(z | x), each ``(n, d_z)``."""
        mean, log_std = self.encoder(x).chunk(2, dim=1)
        return mean, log_std

    def encode(self, x: Tensor) -> Tensor:
        """Posterior means, ``(n, d_z)``."""
        return self.posterior(x)[0]

    def draw(self, x: Tensor, noise: Tensor) -> Tensor:
        """Latents ``mu(x) + sigma(x) noise``."""
        mean, log_std = self.posterior(x)
        return mean + torch.exp(log_std) * noise

    def terms(self, x: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """-log p(x | z) at ``z = mu + sigma noise`` and KL(q || N(0, I)), each ``(n,)``.

        Their sum is the negative evidence lower bound, one sample.
        """
        mean, log_std = self.posterior(x)
        kl = 0.5 * (mean.square() + torch.exp(2 * log_std) - 1) - log_std
        z = mean + torch.exp(log_std) * noise
        return self.nll(x, z), kl.sum(1)


def mlp_vae(image_dim: int, latent_dim: int, hidden: int, likelihood: Likelihood) -> VAE:
    """The fully connected VAE of the report: three blocks each way, mirrored."""
    return VAE(
        MLP(image_dim, hidden, 2 * latent_dim),
        MLP(latent_dim, hidden, image_dim),
        likelihood,
        latent_dim,
    )
