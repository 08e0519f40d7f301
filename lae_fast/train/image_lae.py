"""The public name of `lae_fast.train.trainers.image`, where it has always been imported from."""

from lae_fast.train.trainers.image import ImageLAETrainer

__all__ = ["ImageLAETrainer"]
