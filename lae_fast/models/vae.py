"""The variational autoencoder of the same networks (Kingma and Welling 2014), as a control."""

from __future__ import annotations

from torch import Tensor

from lae_fast.models.autoencoder import Autoencoder
from lae_fast.models.likelihoods import Likelihood
from lae_fast.models.mlp import MLP


class VAE(Autoencoder):
    """``q(z | x) = N(mu(x), diag(sigma(x)^2))``.

    The encoder maps images ``(n, d_x)`` to mu and log sigma side by side, ``(n, 2 d_z)``.
    """

    def code(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """``mu(x)`` and ``log sigma(x)``, each ``(n, d_z)``."""
        mean, log_std = self.encoder(x).chunk(2, dim=1)
        return mean, log_std


def mlp_vae(image_dim: int, latent_dim: int, hidden: int, likelihood: Likelihood) -> VAE:
    """The fully connected VAE of Bisht (2023): three blocks each way, mirrored."""
    return VAE(
        MLP(image_dim, hidden, 2 * latent_dim),
        MLP(latent_dim, hidden, image_dim),
        likelihood,
        latent_dim,
    )
