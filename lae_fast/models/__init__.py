"""The models that can be trained, one per file, with the networks and likelihoods they share."""

from lae_fast.models.lae import LAE
from lae_fast.models.vae import VAE

Model = LAE | VAE
"""What the trainers train; both are an `lae_fast.models.autoencoder.Autoencoder`."""

__all__ = ["LAE", "VAE", "Model"]
