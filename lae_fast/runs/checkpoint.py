"""Weights on disk: safetensors beside a JSON description, never pickle, never half-written."""

from __future__ import annotations

import contextlib
import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor

from lae_fast.errors import CheckpointError, reason
from lae_fast.runs.files import own_folder

FORMAT_VERSION = 1
LARGEST_DESCRIPTION = 1 << 20
"""Bytes of the JSON beside a checkpoint."""


def write(run: Path, name: str, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> Path:
    """Write ``checkpoints/NAME.safetensors`` and ``NAME.json`` of a run folder.

    Each file is written under a temporary name, flushed to the disk and renamed, so a reader
    sees the old file or the new one.
    """
    path = own_folder(run, "checkpoints") / f"{name}.safetensors"
    plain = {key: value.detach().to("cpu").contiguous() for key, value in tensors.items()}
    replace_file(path, save(plain))
    description = {"format": FORMAT_VERSION, **about}
    replace_file(path.with_suffix(".json"), json.dumps(description, indent=2).encode())
    return path


def read(run: Path, name: str = "best") -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `write` wrote.

    Raises:
        CheckpointError: missing, truncated, not a checkpoint, or from a newer version.
    """
    path = run / "checkpoints" / f"{name}.safetensors"
    try:
        about = _read_description(path.with_suffix(".json"))
        _require_file(path)
        tensors = load_file(path)
    except FileNotFoundError as error:
        raise CheckpointError(f"{run} has no '{name}' checkpoint") from error
    except _UNREADABLE as error:
        raise CheckpointError(f"cannot read the checkpoint {path}: {reason(error)}") from error
    if about.get("format", 0) > FORMAT_VERSION:
        raise CheckpointError(f"{path} was written by a newer version of this program")
    return tensors, about


_UNREADABLE = (OSError, ValueError, TypeError, RecursionError, MemoryError, SafetensorError)


def _read_description(path: Path) -> dict[str, Any]:
    _require_file(path)
    with path.open("rb") as file:
        content = file.read(LARGEST_DESCRIPTION + 1)
    if len(content) > LARGEST_DESCRIPTION:
        raise ValueError(f"{path.name} is no description: it is too long")
    about = json.loads(content)
    if not isinstance(about, dict) or not isinstance(about.get("format", 0), int):
        raise ValueError(f"{path.name} is no description")
    return about


def _require_file(path: Path) -> None:
    """A pipe would block for ever, a device never end."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise ValueError(f"{path.name} is not a regular file")


def write_state(
    run: Path, name: str, previous: str, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]
) -> None:
    """Write tensors and facts as one file, so that neither can be there without the other.

    The file that bore the name before becomes ``previous``.
    """
    path = own_folder(run, "checkpoints") / f"{name}.safetensors"
    plain = {key: value.detach().to("cpu").contiguous() for key, value in tensors.items()}
    metadata = {"format": str(FORMAT_VERSION), "facts": json.dumps(facts)}
    temporary = _write_beside(path, save(plain, metadata))
    with contextlib.suppress(FileNotFoundError):
        os.replace(path, path.with_name(f"{previous}.safetensors"))
    os.replace(temporary, path)


def read_state(run: Path, name: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `write_state` wrote.

    Raises:
        CheckpointError: missing, truncated, not a state, or from a newer version.
    """
    path = run / "checkpoints" / f"{name}.safetensors"
    try:
        _require_file(path)
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            version, facts = int(metadata["format"]), json.loads(metadata["facts"])
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except FileNotFoundError as error:
        raise CheckpointError(f"{run} has no saved state to resume from") from error
    except (*_UNREADABLE, KeyError) as error:
        raise CheckpointError(f"cannot read the saved state {path}: {reason(error)}") from error
    if version > FORMAT_VERSION:
        raise CheckpointError(f"{path} was written by a newer version of this program")
    if not isinstance(facts, dict):
        raise CheckpointError(f"cannot read the saved state {path}: its facts are no object")
    return tensors, facts


def replace_file(path: Path, content: bytes) -> None:
    """Write a file so that readers see the old one or the new one, whole."""
    os.replace(_write_beside(path, content), path)


def _write_beside(path: Path, content: bytes) -> Path:
    """Write to a temporary file on the same disk, whole or not at all."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        temporary.unlink(missing_ok=True)  # left by a crash, or a link to who knows where
        with open(temporary, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    return temporary
