"""Training by several processes: started here, or by torchrun."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Mapping, Sequence

from lae_cli import exits
from lae_fast import runs
from lae_fast.config import TrainConfig
from lae_fast.errors import ConfigError


def is_child() -> bool:
    """Whether torchrun started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def is_other_rank() -> bool:
    """Whether torchrun started this process as a rank other than the first."""
    return is_child() and os.environ.get("RANK", "0") != "0"


def was_restarted() -> bool:
    """Whether torchrun restarted its processes after one of them died."""
    return is_child() and os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") != "0"


def ignore_signals() -> None:
    """Ignore signals on this rank: the first rank saves the state and broadcasts the end."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


def launch(words: Sequence[str], nproc: int) -> int:
    """Run ``lae train`` in ``nproc`` processes of this machine; the exit code.

    Args:
        words: the command line of each.
        nproc: how many.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    # torch's reports are for developers of launchers; `_after` says what happened in one line.
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // nproc)))
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=nproc,
        run_id="lae",
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
        monitor_interval=0.2,
    )
    try:
        elastic_launch(config, sys.executable)(*words[1:])
    except ChildFailedError as error:
        return _after({rank: failure.exitcode for rank, failure in error.failures.items()})
    except SignalException as error:
        return exits.INTERRUPTED if error.sigval == signal.SIGINT else exits.TERMINATED
    return exits.OK


def run_to_continue(config: TrainConfig) -> str | None:
    """The run that a restart continues; None where it had not been made yet.

    Raises:
        ConfigError: it has no name to be found by.
    """
    if config.name is None:
        raise ConfigError(
            "torchrun restarted the training, but a run without a name cannot be found again; add "
            "--name to the command"
        )
    path = os.path.join(config.run_root, config.name)
    return path if os.path.exists(os.path.join(path, runs.CONFIG_FILE)) else None


def _after(codes: Mapping[int, int]) -> int:
    """Say which process died, and return what the first rank returned."""
    from lae_cli.progress import training as reporters

    for rank, code in codes.items():
        if code < 0 and code != -signal.SIGTERM:
            reporters.say(
                f"rank {rank} died ({signal.Signals(-code).name}); the others were stopped, and "
                "`lae train --resume RUN` continues from what was saved"
            )
            return exits.FAILED
    return next((code for code in codes.values() if code > 0), exits.FAILED)
