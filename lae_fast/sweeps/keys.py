"""Keys of a table that has a fixed set of them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

from lae_fast.config import ConfigError


def check_keys(keys: Iterable[str], known: Sequence[str], *, source: str) -> None:
    """Refuse a key that is not ``known``, with the closest that is.

    Raises:
        ConfigError: an unknown key.
    """
    for key in keys:
        if key not in known:
            close = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean '{close[0]}'?" if close else f"there are {', '.join(known)}"
            raise ConfigError(f"{source}: unknown key '{key}'; {hint}")
