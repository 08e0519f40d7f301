"""Keys of a table that has a fixed set of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lae_fast.errors import ConfigError, did_you_mean


def check_keys(keys: Iterable[str], known: Sequence[str], *, source: str) -> None:
    """Refuse a key that is not ``known``, with the closest that is.

    Raises:
        ConfigError: an unknown key.
    """
    for key in keys:
        if key not in known:
            raise ConfigError(f"{source}: unknown key '{key}'; {did_you_mean(key, known)}")
