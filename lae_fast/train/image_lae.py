"""`LAETrainer` under the name that it had when it decided per image alone."""

from lae_fast.train.trainers.lae import LAETrainer as ImageLAETrainer

__all__ = ["ImageLAETrainer"]
