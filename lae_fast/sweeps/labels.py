"""Names of points, made from the settings that vary."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

_LONGEST = 90


def label_of(values: Mapping[str, Any]) -> str:
    """A name for a folder: ``latent-dim-8_step-size-0.001_no-mh_seed-0``."""
    words = [_word(name.replace("_", "-"), value) for name, value in values.items()]
    label = "_".join(word for word, _ in words)
    if len(label) <= _LONGEST and all(exact for _, exact in words):
        return label
    digest = hashlib.sha256(repr(list(values.items())).encode()).hexdigest()[:8]
    return f"{label[: _LONGEST - 9]}-{digest}"


def _word(flag: str, value: Any) -> tuple[str, bool]:
    """One setting as part of a name, and whether the value can be told from any other."""
    if isinstance(value, bool):
        return (flag if value else f"no-{flag}"), True
    text = str(value)
    slug = re.sub(r"[^A-Za-z0-9.-]+", "-", text).strip("-.")
    return f"{flag}-{slug}", slug == text
