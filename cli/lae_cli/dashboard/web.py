"""The dashboard in a browser on the same machine, through textual-serve."""

from __future__ import annotations

import shlex
import socket
import sys
from pathlib import Path
from typing import Any

from aiohttp import web
from textual_serve.server import Server

from lae_fast.errors import RunError, reason

HOST = "127.0.0.1"
"""Nobody else's machine: the page has no password."""


def command(root: Path, runs: list[str], *, readonly: bool, flags: list[str]) -> str:
    """The command line of one visitor's dashboard."""
    words = [sys.executable, "-m", "lae_cli", "dashboard", "--run-root", str(root.resolve())]
    words += ["--readonly"] if readonly else []
    words += [*flags, "--", *(str(Path(run).resolve()) for run in runs)]
    return f"exec {shlex.join(words)}"  # no shell in between: the page's end must be noticed


class LocalServer(Server):
    """Answers only pages of its own: another site open in the browser must not reach the runs."""

    def initialize_logging(self) -> None:
        """Requests are not logged."""

    async def on_startup(self, app: web.Application) -> None:
        """Say where it is."""
        self.console.print(f"the dashboard is at {self.public_url}; Ctrl-C ends it")

    async def handle_index(self, request: web.Request) -> Any:
        """The page."""
        self._check(request)
        return await super().handle_index(request)

    async def handle_websocket(self, request: web.Request) -> Any:
        """What the page talks through."""
        self._check(request)
        return await super().handle_websocket(request)

    async def handle_download(self, request: web.Request) -> Any:
        """A file that the page offers."""
        self._check(request)
        return await super().handle_download(request)

    def _check(self, request: web.Request) -> None:
        """Refuse other hosts' names for this machine, and requests that other sites make."""
        names = [f"{name}:{self.port}" for name in (HOST, "localhost")]
        origin = request.headers.get("Origin")
        here = origin is None or origin in [f"http://{name}" for name in names]
        if request.headers.get("Host") not in names or not here:
            raise web.HTTPForbidden(text="this page is for the machine it runs on\n")


def serve(root: Path, runs: list[str], port: int, *, readonly: bool, flags: list[str]) -> None:
    """Serve until Ctrl-C.

    Raises:
        RunError: the port is taken.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise RunError(
                f"cannot listen on {HOST}:{port}: {reason(error)}; choose another --port"
            ) from error
    words = command(root, runs, readonly=readonly, flags=flags)
    LocalServer(words, host=HOST, port=port, title="lae").serve()
