"""What all refusals of bad input have in common. Imports nothing."""

from __future__ import annotations

MOST = 1000
"""Characters of a message; what is quoted in it may be of any length."""


class InputError(ValueError):
    """Input that cannot be used; the message is one printable line that says what to do.

    Whatever a file or an argument smuggles into the message (line breaks, terminal escapes, broken
    Unicode, a novel) is escaped or cut here, for every message alike.
    """

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


def one_line(text: str) -> str:
    """``text`` on one printable line: white space joined, the rest escaped, the middle cut."""
    shown = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in " ".join(text.split()))
    half = MOST // 2
    return shown if len(shown) <= MOST else f"{shown[: half - 2]}...{shown[-half + 1 :]}"
