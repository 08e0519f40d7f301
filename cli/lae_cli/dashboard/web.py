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
"""Only this machine is served, because the page asks for no password."""


def command(root: Path, runs: list[str], *, readonly: bool, flags: list[str]) -> str:
    """The command line of one visitor's dashboard."""
    words = [sys.executable, "-m", "lae_cli", "dashboard", "--run-root", str(root.resolve())]
    words += ["--readonly"] if readonly else []
    words += [*flags, "--", *(str(Path(run).resolve()) for run in runs)]
    # exec: with a shell in between, the dashboard would not notice that the server has ended.
    return f"exec {shlex.join(words)}"


class LocalServer(Server):
    """Refuses what another site, open in the same browser, asks of this one."""

    def initialize_logging(self) -> None:
        """Log no requests."""

    async def on_startup(self, app: web.Application) -> None:
        """Print the address of the page."""
        self.console.print(f"the dashboard is at {self.public_url}; Ctrl-C ends it")

    async def handle_index(self, request: web.Request) -> Any:
        """The page."""
        self._check(request)
        return await super().handle_index(request)

    async def handle_websocket(self, request: web.Request) -> Any:
        """The connection that carries keys and pictures."""
        self._check(request)
        return await super().handle_websocket(request)

    async def handle_download(self, request: web.Request) -> Any:
        """A file that the page offers."""
        self._check(request)
        return await super().handle_download(request)

    def _check(self, request: web.Request) -> None:
        """Refuse a request that names another host, or that another site's page has sent."""
        hosts = [f"{name}:{self.port}" for name in (HOST, "localhost")]
        origins = [None, *(f"http://{host}" for host in hosts)]
        if request.headers.get("Host") not in hosts or request.headers.get("Origin") not in origins:
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
