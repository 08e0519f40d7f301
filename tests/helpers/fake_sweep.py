"""A sweep whose points train with the stand-in trainer, in processes of their own.

``fake_sweep.py sweep ...`` is the command line; ``fake_sweep.py FOLDER NAME`` one point. A point of
hidden size 13 is refused, one of 14 is killed; both succeed where FAKE_FIXED is set.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # as a script it has to find its neighbours

from helpers import fake_trainer
from lae_fast.config import ConfigError, TrainConfig
from lae_fast.sweeps import job

COMMAND = (sys.executable, str(Path(__file__)))
_train = fake_trainer.train


def train(config: TrainConfig, **kwargs: Any) -> Iterator[Any]:
    if "FAKE_FIXED" not in os.environ:
        if config.hidden == 13:
            raise ConfigError("13 brings bad luck")
        if config.hidden == 14:
            os.kill(os.getpid(), signal.SIGKILL)
    print("threads", os.environ["OMP_NUM_THREADS"])
    return _train(config, **kwargs)


if __name__ == "__main__":
    fake_trainer.train = train
    if sys.argv[1] == "sweep":
        from lae_cli.main import main
        from lae_fast.sweeps import drive

        job.COMMAND = COMMAND
        drive.check_points = lambda points, here: None
        main(sys.argv[1:])
    fake_trainer.install()
    sys.exit(job.main(sys.argv[1:]))
