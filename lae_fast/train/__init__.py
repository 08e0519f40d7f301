"""Training: `train` runs a configuration and yields events; `StopRequest` ends it early."""

from lae_fast.errors import TrainingError
from lae_fast.train.loop import StopRequest, train

__all__ = ["StopRequest", "TrainingError", "train"]
