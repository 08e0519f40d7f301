"""Make run folders of the present format: small ones, stopped after two of four epochs.

    python tests/tools/golden_runs.py tests/golden/FORMAT

Run it when the format of states, weights or settings has changed, and keep the folders that are
there: programs of tomorrow must read them, too.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from lae_fast.config.settings import from_dict
from lae_fast.runs.events import Evaluated
from lae_fast.train import StopRequest, train

MODELS = {
    "lae": {},
    "lae-point": {"start": "point", "conditional": True},
    "lae-batch": {"accept": "batch", "ema": 0.0},
    "vae": {"model": "vae", "likelihood": "gaussian"},
}


def main() -> None:
    """Train them into the folder that the command line names."""
    torch.set_num_threads(1)
    root = Path(sys.argv[1])
    for name, settings in MODELS.items():
        small = {"hidden": 4, "depth": 1, "latent_dim": 2, "epochs": 4, "device": "cpu"}
        stop = StopRequest()
        for event in train(
            from_dict(small | settings | {"run_root": str(root), "name": name}), stop
        ):
            if isinstance(event, Evaluated) and event.epoch == 2:
                stop.request()


if __name__ == "__main__":
    main()
