"""Weights on disk: safetensors beside a JSON description, never pickle, never half-written."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from lae_fast.errors import CheckpointError, reason
from lae_fast.runs.files import own_folder, replace_file, sync_folder, write_beside

FORMAT_VERSION = 2
"""2: with digests. Files of format 1 are read without."""
STATE, PREVIOUS_STATE = "state", "state-previous"
"""Under these names lies what a training goes on from; all other checkpoints are weights."""
LARGEST_DESCRIPTION = 1 << 20
"""Bytes of the JSON beside a checkpoint."""


def write(run: Path, name: str, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> Path:
    """Write ``checkpoints/NAME.safetensors`` and ``NAME.json`` of a run folder.

    Each file is written under a temporary name, flushed to the disk and renamed, so a reader
    sees the old file or the new one. Each has a digest of what it holds.
    """
    path = own_folder(run, "checkpoints") / f"{name}.safetensors"
    plain = _plain(tensors)
    # One entry alone: safetensors writes several in an order of its own, and bytes would differ.
    replace_file(path, save(plain, {"digest": _digest(plain)}))
    description = {"format": FORMAT_VERSION, **about}
    description["digest"] = _digest_of(description)
    replace_file(path.with_suffix(".json"), json.dumps(description, indent=2).encode())
    return path


def read(run: Path, name: str = "best") -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `write` wrote.

    Raises:
        CheckpointError: missing, damaged, not a checkpoint, or from a newer version.
    """
    path = run / "checkpoints" / f"{name}.safetensors"
    try:
        about = _read_description(path.with_suffix(".json"))
        _require_file(path)
        tensors, metadata = _load(path)
        version = about.get("format", 0)
        if version <= FORMAT_VERSION:
            _check(metadata | {"format": version}, _digest(tensors), path)
    except FileNotFoundError as error:
        raise CheckpointError(f"{run} has no '{name}' checkpoint") from error
    except _UNREADABLE as error:
        raise CheckpointError(f"cannot read the checkpoint {path}: {reason(error)}") from error
    if version > FORMAT_VERSION:
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
    plain = {key: value for key, value in about.items() if key != "digest"}
    if about.get("format", 0) <= FORMAT_VERSION:
        _check(about, _digest_of(plain), path)
    return plain


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
    plain, text = _plain(tensors), json.dumps(facts)
    digest = _digest(plain, text)
    metadata = {"format": str(FORMAT_VERSION), "facts": text, "digest": digest}
    temporary = write_beside(path, save(plain, metadata))
    with contextlib.suppress(FileNotFoundError):
        os.replace(path, path.with_name(f"{previous}.safetensors"))
    os.replace(temporary, path)
    sync_folder(path.parent)


def read_state(run: Path, name: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `write_state` wrote.

    Raises:
        CheckpointError: missing, damaged, not a state, or from a newer version.
    """
    path = run / "checkpoints" / f"{name}.safetensors"
    try:
        _require_file(path)
        tensors, metadata = _load(path)
        version, facts = int(metadata["format"]), json.loads(metadata["facts"])
        if version <= FORMAT_VERSION:
            _check(metadata, _digest(tensors, metadata["facts"]), path)
    except FileNotFoundError as error:
        raise CheckpointError(f"{run} has no saved state to resume from") from error
    except (*_UNREADABLE, KeyError) as error:
        raise CheckpointError(f"cannot read the saved state {path}: {reason(error)}") from error
    if version > FORMAT_VERSION:
        raise CheckpointError(f"{path} was written by a newer version of this program")
    if not isinstance(facts, dict):
        raise CheckpointError(f"cannot read the saved state {path}: its facts are no object")
    return tensors, facts


def has_digest(path: Path) -> bool:
    """Whether a file that can be read says what it should hold; those of format 1 do not."""
    with safe_open(path, framework="pt") as file:
        return "digest" in (file.metadata() or {})


def _plain(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key: value.detach().to("cpu").contiguous() for key, value in tensors.items()}


def _load(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a safetensors file."""
    with safe_open(path, framework="pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        return tensors, file.metadata() or {}


def _digest(tensors: Mapping[str, Tensor], text: str = "") -> str:
    """Of tensors on the CPU, their names, types and shapes, and a text."""
    digest = hashlib.blake2b(text.encode(), digest_size=16)
    for name in sorted(tensors):
        value = tensors[name]
        digest.update(f"\0{name}\0{value.dtype}\0{tuple(value.shape)}\0".encode())
        digest.update(value.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _digest_of(description: Mapping[str, Any]) -> str:
    text = json.dumps(description, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _check(about: Mapping[str, Any], digest: str, path: Path) -> None:
    """Compare with the digest that was written; format 1 has none."""
    if about.get("digest", None if int(about.get("format", 1)) > 1 else digest) != digest:
        raise ValueError(f"{path.name} is damaged; its digest is another")
