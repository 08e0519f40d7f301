"""Models, one a file, and the likelihoods they share."""

from lae_fast.models.lae import LAE
from lae_fast.models.vae import VAE

Model = LAE | VAE
"""What the trainers train: ``encode``, ``decode``, ``terms``, ``decoder`` and ``likelihood``."""

__all__ = ["LAE", "VAE", "Model"]
