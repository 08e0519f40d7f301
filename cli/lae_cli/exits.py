"""Exit codes, and the one line that each known error becomes."""

from __future__ import annotations

import errno

import click

from lae_fast.errors import (
    InputError,
    OtherRankError,
    RankLostError,
    TrainingError,
    one_line,
    reason,
)

OK, FAILED, BAD_INPUT, SYSTEM, INTERNAL = 0, 1, 2, 3, 70
HANGUP, INTERRUPTED, BROKEN_PIPE, TERMINATED = 129, 130, 141, 143

MEANINGS = {
    OK: "Done.",
    FAILED: "Training failed numerically or lost a process, a point of a sweep failed, or "
    "`lae doctor` or `lae diagnose` found a failure.",
    BAD_INPUT: "Bad input: an option, a setting, a data set or a run that cannot be used.",
    SYSTEM: "The machine refused: no memory, no disk space or no permission.",
    INTERNAL: "A defect in this program. LAE_DEBUG=1 shows the traceback.",
    INTERRUPTED: "Interrupted by Ctrl-C or from the dashboard; the weights are saved.",
    BROKEN_PIPE: "The reader of the output closed the pipe.",
    TERMINATED: "Terminated by SIGTERM (129: by SIGHUP); the weights are saved.",
}

_OURS: dict[type[Exception], int] = {
    InputError: BAD_INPUT,
    OtherRankError: BAD_INPUT,
    TrainingError: FAILED,
    RankLostError: FAILED,
}
# The machine's fault, whatever was being read or written.
_MACHINE = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EMFILE, errno.ENFILE}
)
# torch raises a RuntimeError, or a class of its own that is one, and so does what counts bytes.
_NO_MEMORY = (
    "out of memory",
    "can't allocate memory",
    "size calculation overflowed",
    "multiplication overflow",
)


def explain(error: BaseException) -> tuple[int, str]:
    """The exit code and the line for ``error``."""
    if isinstance(error, KeyboardInterrupt | click.Abort):
        return INTERRUPTED, "interrupted"
    if isinstance(error, click.UsageError):
        return BAD_INPUT, _usage(error)
    if isinstance(error, click.ClickException):
        return BAD_INPUT, one_line(error.format_message())
    for kind, code in _OURS.items():
        if isinstance(error, kind):
            cause = error.__cause__
            refused = isinstance(cause, OSError) and cause.errno in _MACHINE
            return SYSTEM if refused else code, one_line(error)
    if isinstance(error, MemoryError) or _lacks_memory(error):
        return SYSTEM, "out of memory; try a smaller --batch-size, --hidden or --steps"
    if isinstance(error, OSError) and error.strerror:
        if not error.filename:
            return SYSTEM, one_line(reason(error))
        return SYSTEM, one_line(
            f"cannot use {error.filename}: {reason(error)}; check the path and its permissions"
        )
    return INTERNAL, (
        f"internal error: {one_line(f'{type(error).__name__}: {error}')} "
        "(run again with LAE_DEBUG=1 for the traceback)"
    )


def _lacks_memory(error: BaseException) -> bool:
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _NO_MEMORY)


def _usage(error: click.UsageError) -> str:
    path = error.ctx.command_path if error.ctx is not None else "lae"
    return f"{one_line(error.format_message()).rstrip('.')} (see `{path} --help`)"
