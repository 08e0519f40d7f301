"""Exit codes, and the one line that each known error becomes."""

from __future__ import annotations

import errno
import sys

import click

from lae_fast.config import ConfigError
from lae_fast.runs import RunError, printable

OK, FAILED, BAD_INPUT, SYSTEM, INTERNAL = 0, 1, 2, 3, 70
HANGUP, INTERRUPTED, BROKEN_PIPE, TERMINATED = 129, 130, 141, 143

MEANINGS = {
    OK: "Done.",
    FAILED: "Training failed numerically or lost a process, a point of a sweep failed, or "
    "`lae doctor` or `lae diagnose` found a failure.",
    BAD_INPUT: "Bad input: an option, a setting, a data set or a run that cannot be used.",
    SYSTEM: "The machine refused: no memory, no disk space, no permission.",
    INTERNAL: "A defect; LAE_DEBUG=1 shows the traceback.",
    INTERRUPTED: "Interrupted (Ctrl-C, or stopped by a viewer); the weights are saved.",
    BROKEN_PIPE: "The reader of the output went away.",
    TERMINATED: "Terminated (SIGTERM; 129 for SIGHUP); the weights are saved.",
}

# Classes that live beside torch are looked up only where their module was imported already.
_LATE = (
    ("lae_fast.data", "DataError", BAD_INPUT),
    ("lae_fast.runs.checkpoint", "CheckpointError", BAD_INPUT),
    ("lae_fast.train", "TrainingError", FAILED),
    ("lae_fast.ranks", "RankLostError", FAILED),
    ("lae_fast.ranks", "OtherRankError", BAD_INPUT),
    ("torch", "OutOfMemoryError", SYSTEM),
)
# The machine's fault, whatever was being read or written.
_MACHINE = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EMFILE, errno.ENFILE}
)
_TORCH_NO_MEMORY = (
    "can't allocate memory",
    "size calculation overflowed",
    "multiplication overflow",
)
_NO_MEMORY = "out of memory; try a smaller --batch-size, --hidden or --steps"


def explain(error: BaseException) -> tuple[int, str]:
    """The exit code and the line for ``error``."""
    if isinstance(error, KeyboardInterrupt | click.Abort):
        return INTERRUPTED, "interrupted"
    if isinstance(error, click.UsageError):
        return BAD_INPUT, _usage(error)
    if isinstance(error, click.ClickException):
        return BAD_INPUT, _line(error.format_message())
    code = _known(error)
    if _is_out_of_memory(error):
        return SYSTEM, _NO_MEMORY
    if code is not None:
        return code, _line(str(error))
    if isinstance(error, OSError) and error.strerror:
        where = f": {error.filename}" if error.filename else ""
        return SYSTEM, _line(f"{error.strerror}{where}")
    return INTERNAL, (
        f"internal error: {_line(f'{type(error).__name__}: {error}')} "
        "(run again with LAE_DEBUG=1 for the traceback)"
    )


def _known(error: BaseException) -> int | None:
    cause = error.__cause__
    if isinstance(cause, OSError) and cause.errno in _MACHINE:
        return SYSTEM
    if isinstance(error, ConfigError | RunError):
        return BAD_INPUT
    for module, name, code in _LATE:
        kind = getattr(sys.modules.get(module), name, None)
        if isinstance(kind, type) and isinstance(error, kind):
            return code
    return None


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError):
        return True
    out_of_memory = getattr(sys.modules.get("torch"), "OutOfMemoryError", None)
    if isinstance(out_of_memory, type) and isinstance(error, out_of_memory):
        return True
    # torch's CPU allocator raises a plain RuntimeError, and so does what counts bytes for it.
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _TORCH_NO_MEMORY)


def _usage(error: click.UsageError) -> str:
    path = error.ctx.command_path if error.ctx is not None else "lae"
    return f"{_line(error.format_message()).rstrip('.')} (see `{path} --help`)"


def _line(text: str) -> str:
    """One printable line."""
    return printable(" ".join(text.split()))
