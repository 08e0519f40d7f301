"""Reading and writing the files of a run folder, which is untrusted input.

Part of `lae_fast.runs`, where the public names are.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import stat
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from lae_fast.errors import RunError, reason

CONFIG_FILE = "config.json"
EVENTS_FILE = "events.jsonl"
LOG_FILE = "output.log"
"""What a trainer in the background printed."""
IMAGES_FILE = "images.npz"
"""The images of a run that was given an array; its setting ``dataset`` is the path of this file."""
SWEEP_FILE = "sweep.json"
"""What marks a folder of run folders as a sweep."""
COMMAND_FILE = "command"
BLOCK = 1 << 20
"""Bytes read at once."""


def write_atomically(path: Path, text: str) -> None:
    """`replace_file` with text.

    Raises:
        RunError: it cannot be written.
    """
    try:
        replace_file(path, text.encode())
    except OSError as error:
        raise RunError(f"cannot write {path}: {reason(error)}") from error


def replace_file(path: Path, content: bytes) -> None:
    """Write a file: readers see the old one or the new one, and so does the disk after a crash."""
    os.replace(write_beside(path, content), path)
    sync_folder(path.parent)


def write_beside(path: Path, content: bytes) -> Path:
    """Write to a temporary file on the same disk, whole or not at all."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        with open(temporary, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    return temporary


def sync_folder(path: Path) -> None:
    """Wait until the disk has a folder's entries: new, renamed and removed files.

    Does nothing where the file system cannot say so.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
            raise
    finally:
        os.close(descriptor)


def own_folder(run: Path, name: str) -> Path:
    """A folder inside a run folder to write to, made when missing.

    Raises:
        RunError: a link stands there, or something else: what is written would land elsewhere.
    """
    path = run / name
    with contextlib.suppress(FileExistsError):
        path.mkdir()
        sync_folder(run)
    if path.is_symlink() or not path.is_dir():
        raise RunError(f"{path} is not a folder of the run's own; take it away")
    return path


def open_own(path: Path) -> IO[bytes]:
    """Open a file of a run folder for reading and appending, made when missing.

    Raises:
        RunError: a link, a pipe or something else stands there, or it cannot be written.
    """
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        descriptor = os.open(path, flags, 0o666)
    except OSError as error:
        why = "it is a link" if error.errno == errno.ELOOP else reason(error)
        raise RunError(f"cannot write {path}: {why}") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise RunError(f"cannot write {path}: it is not a regular file")
    return open(descriptor, "ab+", buffering=0)


@contextlib.contextmanager
def open_regular(path: Path) -> Iterator[IO[bytes] | None]:
    """The file, or None when it is missing, unreadable or not a regular file (a FIFO hangs).

    An error of the disk while it is read ends the block, as if the file ended there.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except (OSError, ValueError):
        yield None
        return
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        yield None
        return
    with contextlib.suppress(OSError), open(descriptor, "rb", buffering=0) as file:
        yield file


def read_config(run: Path) -> dict[str, Any]:
    """The settings in ``config.json`` as plain values; {} when there are none to be read."""
    with open_regular(run / CONFIG_FILE) as file:
        try:
            values = json.loads(file.read(BLOCK) or b"null") if file is not None else None
        except (OSError, ValueError, RecursionError):
            return {}
    return located(run, values) if isinstance(values, dict) else {}


def located(run: Path, values: Mapping[str, Any]) -> dict[str, Any]:
    """Settings in which ``dataset`` is the folder's own images, where it lies now, if it has such.

    A run folder may have been moved since they were written.
    """
    stored, images = values.get("dataset"), run / IMAGES_FILE
    if isinstance(stored, str) and Path(stored).name == IMAGES_FILE and os.path.isfile(images):
        return {**values, "dataset": str(images)}
    return dict(values)


def is_config(values: Mapping[str, Any]) -> bool:
    """Whether settings, as `read_config` returns them, are those of a run."""
    return {"dataset", "latent_dim"} <= values.keys()


def modified(path: Path) -> float | None:
    """When a file or folder was last changed, Unix time; None if it is gone."""
    try:
        return path.stat().st_mtime
    except OSError:
        return None
