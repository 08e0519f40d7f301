"""Every error that this package raises on purpose, and how messages are worded. Imports nothing.

The command line turns each class into an exit code (`lae_cli.exits`).
"""

from __future__ import annotations

from collections.abc import Iterable

LONGEST = 1000
"""Characters of a message; what is quoted in it may be of any length."""


def printable(text: object) -> str:
    """``text`` with control characters, terminal escapes and broken Unicode spelled out."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(text))


def one_line(text: object, longest: int = LONGEST) -> str:
    """``text`` on one printable line: white space joined, the middle of a long one left out."""
    shown = printable(" ".join(str(text).split()))
    half = longest // 2
    return shown if len(shown) <= longest else f"{shown[: half - 2]}...{shown[-half + 1 :]}"


def closest(word: str, known: Iterable[str], *, cutoff: float = 0.6) -> str | None:
    """The one of ``known`` that ``word`` is most likely a misspelling of, if any is like it.

    Args:
        word: what was typed.
        known: what could have been meant.
        cutoff: how alike the two must be, from 0 to 1.
    """
    import difflib  # only a misspelling needs it

    names = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word.lower(), names, n=1, cutoff=cutoff)
    return names[close[0]] if close else None


def did_you_mean(
    word: str, known: Iterable[str], otherwise: str = "", *, cutoff: float = 0.6
) -> str:
    """The end of a message about ``word``: the closest of ``known``, or ``otherwise``."""
    known = list(known)
    close = closest(word, known, cutoff=cutoff)
    if close is not None:
        return f"did you mean '{close}'?"
    return otherwise or f"there are {', '.join(known)}"


def reason(error: Exception) -> str:
    """Why something failed, in words: no error number, no class name."""
    if isinstance(error, UnicodeDecodeError):
        return "it is not UTF-8 text"
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, KeyError):
        return f"it lacks {error}"
    if isinstance(error, MemoryError):
        return "out of memory"
    text = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return text[:1].lower() + text[1:]


class InputError(ValueError):
    """Input that cannot be used; the message is one line that says what to do.

    Whatever a file or an argument smuggles into the message (line breaks, terminal escapes, broken
    Unicode, a novel) is spelled out or cut here, for every message alike.
    """

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


class ConfigError(InputError):
    """A setting that cannot be used."""


class DataError(InputError):
    """A data set that cannot be used."""


class MixedSizesError(DataError):
    """A folder holds images of several sizes, and nobody said what they are to become.

    Attributes:
        found: which sizes there are.
        suggested: pixels per side that would do.
    """

    def __init__(self, message: str, found: str = "", suggested: int = 64) -> None:
        super().__init__(message)
        self.found, self.suggested = one_line(found), suggested


class UntraceableError(InputError):
    """A network that cannot be written as a list of operators; the message says why."""


class RunError(InputError):
    """A run folder that cannot be made, found or used."""


class CheckpointError(InputError):
    """A checkpoint that cannot be read or does not fit the run."""


class TrainingError(RuntimeError):
    """Training cannot go on; the message is one line that says what happened and what to try."""


class NotTrainedError(RuntimeError):
    """A study needs a model that is missing, and it may not train one."""


class RankLostError(RuntimeError):
    """Another process of this training does not answer any more."""


class OtherRankError(ValueError):
    """Another process of this training met bad input; the message begins with its rank."""
