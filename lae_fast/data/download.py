"""Downloads through torchvision: nothing on stdout, a time limit, and errors in one line."""

from __future__ import annotations

import contextlib
import errno
import http.client
import io
import socket
import sys
import tarfile
import urllib.error
import zlib
from collections.abc import Iterator
from pathlib import Path

from lae_fast.data.sets import show
from lae_fast.errors import DataError, reason

SILENCE_LIMIT = 30.0
"""Seconds without a byte after which a server counts as gone; torchvision sets no limit."""

_DISK_ERRORS = (
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOSPC,
    errno.EDQUOT,
    errno.ENOTDIR,
    errno.EEXIST,
    errno.ENOENT,
)


@contextlib.contextmanager
def downloading(name: str, root: Path, place: Path) -> Iterator[None]:
    """A context for torchvision's download of data set ``name`` into ``root``.

    ``place`` is the folder into which a user without a network would put the files.

    Raises:
        DataError: whatever went wrong.
    """
    previous = socket.getdefaulttimeout()
    socket.setdefaulttimeout(SILENCE_LIMIT)
    # stdout belongs to results; the progress bar goes to a terminal or nowhere.
    sink = sys.stderr if sys.stderr.isatty() else io.StringIO()
    try:
        with contextlib.redirect_stdout(sink), contextlib.redirect_stderr(sink):
            yield
    except (
        OSError,
        RuntimeError,
        EOFError,
        ValueError,
        zlib.error,
        tarfile.TarError,
        http.client.HTTPException,
    ) as error:
        raise DataError(_explain(error, name, root, place)) from error
    finally:
        socket.setdefaulttimeout(previous)


def _explain(error: Exception, name: str, root: Path, place: Path) -> str:
    # A URLError is an OSError too, and its errno says nothing about the disk.
    if isinstance(error, urllib.error.URLError):
        error = error.reason if isinstance(error.reason, Exception) else error
    elif isinstance(error, OSError) and error.errno in _DISK_ERRORS:
        return (
            f"cannot write {name} to {show(root)} ({reason(error)}); "
            "give another folder with --data-dir"
        )
    return (
        f"could not download {name} ({reason(error)}); check the network and try again, or put "
        f"its files into {show(place)} yourself"
    )
