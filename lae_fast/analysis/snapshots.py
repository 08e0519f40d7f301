"""Reading the snapshots that a trainer leaves at its evaluations. A run folder may be hostile."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy.typing as npt

from lae_fast.data.arrays import read_entry

LARGEST_ARRAY = 64 << 20
"""Bytes of an array; a trainer writes far less."""


def read(run: Path, name: str, arrays: Iterable[str]) -> dict[str, npt.NDArray[Any]] | None:
    """Some arrays of a snapshot.

    Args:
        run: the run folder.
        name: of the file inside the run folder, as `lae_fast.runs.events.Evaluated` has it.
        arrays: which ones.

    Returns:
        the arrays by name; None if one of them is missing, broken or too large, or if the name
        leads out of ``snapshots/``.
    """
    try:
        path = (run / name).resolve()
        if not path.is_relative_to(run.resolve() / "snapshots") or not path.is_file():
            return None
        with zipfile.ZipFile(path) as archive:
            entries = {wanted: archive.getinfo(f"{wanted}.npy") for wanted in arrays}
            if any(entry.file_size > LARGEST_ARRAY for entry in entries.values()):
                return None
            return {
                wanted: read_entry(archive, entry, path, name) for wanted, entry in entries.items()
            }
    except (zipfile.BadZipFile, zlib.error, ValueError, OSError, EOFError, LookupError):
        return None
    except (RuntimeError, NotImplementedError):  # encrypted, a link to itself, another compression
        return None
