"""The share of a training's time that goes into checkpoints.

python benchmarks/checkpoint_cost.py --dataset mnist --data-dir DIR --seconds 60
"""

from __future__ import annotations

import argparse
import functools
import tempfile
import time
from collections.abc import Callable
from typing import Any

from lae_fast.config import TrainConfig
from lae_fast.runs.events import RunFinished
from lae_fast.train import train
from lae_fast.train.best import Keeper
from lae_fast.train.session import Session


class Clock:
    """Adds up the time inside methods, those that they call among themselves counted once."""

    def __init__(self) -> None:
        self.seconds, self.calls, self._depth = 0.0, 0, 0

    def around(self, method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        def timed(*args: Any, **options: Any) -> Any:
            self._depth += 1
            began = time.perf_counter()
            try:
                return method(*args, **options)
            finally:
                self._depth -= 1
                if self._depth == 0:
                    self.seconds += time.perf_counter() - began
                    self.calls += 1

        return timed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", default="mnist")
    parser.add_argument("--data-dir", default="data")
    parser.add_argument("--seconds", type=float, default=60.0)
    options = parser.parse_args()
    clock = Clock()
    for kind, names in ((Session, ("save",)), (Keeper, ("flush", "flush_best", "record"))):
        for name in names:
            setattr(kind, name, clock.around(getattr(kind, name)))
    with tempfile.TemporaryDirectory() as root:
        config = TrainConfig(
            dataset=options.dataset,
            data_dir=options.data_dir,
            max_time=options.seconds,
            run_root=root,
            device="cpu",
        )
        *_, finished = train(config)
    assert isinstance(finished, RunFinished)
    share = clock.seconds / finished.elapsed
    print(
        f"{clock.seconds:.2f} s of {finished.elapsed:.1f} s in {clock.calls} looks and writes: "
        f"{share:.2%}, {finished.epochs} epochs of {options.dataset}"
    )


if __name__ == "__main__":
    main()
