"""``lae dash --web``: the page in a real browser, and who may not see it."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest
from PIL import Image

from helpers.command_line import SOURCES, python, wait_until
from helpers.run_folders import write_run
from lae_fast import runs

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(port: int, address: str = "127.0.0.1") -> bool:
    """Whether anything listens there."""
    with socket.socket() as probe:
        return probe.connect_ex((address, port)) == 0


@pytest.fixture
def live(tmp_path: Path) -> Path:
    return write_run(tmp_path / "runs", "live", status=None, began=time.time() - 60)


@pytest.fixture
def page(live: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of a served dashboard."""
    port = free_port()
    words = [sys.executable, "-m", "lae_cli", "dash", "--web", "--port", str(port)]
    flags = getattr(request, "param", [])
    server = subprocess.Popen(
        [*words, "--run-root", str(live.parent), *flags],
        env=os.environ | SOURCES,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: answers(port))
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(20)


def status_of(url: str, **headers: str) -> int:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as reply:
            return int(reply.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_other_sites_and_other_machines_are_refused(page: str) -> None:
    port = page.rsplit(":", 1)[1]
    assert status_of(page) == 200
    assert status_of(page, Host=f"localhost:{port}") == 200
    assert status_of(page, Host=f"evil.example:{port}") == 403
    for path in ("", "/ws", "/download/x"):
        assert status_of(page + path, Origin="http://evil.example") == 403
    address = socket.gethostbyname(socket.gethostname())
    assert address.startswith("127.") or not answers(int(port), address)


def test_a_taken_port_is_one_line(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = python("-m", "lae_cli", "dash", "--web", "--port", port, "--run-root", str(tmp_path))
    assert done.returncode == 2
    assert "choose another --port" in done.stderr
    assert done.stderr.count("\n") == 1


class Browser:
    """A page in Chromium over its debugging protocol."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket, self._count = socket, 0

    async def ask(self, method: str, **params: Any) -> Any:
        self._count += 1
        await self._socket.send_json({"id": self._count, "method": method, "params": params})
        async for message in self._socket:
            reply = json.loads(message.data)
            if reply.get("id") == self._count:
                return reply["result"]
        raise AssertionError("the browser went away")

    async def press(self, key: str) -> None:
        await self.ask("Input.dispatchKeyEvent", type="keyDown", text=key, key=key)
        await self.ask("Input.dispatchKeyEvent", type="keyUp", key=key)

    async def click(self, x: int, y: int) -> None:
        for kind in ("mousePressed", "mouseReleased"):
            await self.ask(
                "Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1
            )

    async def picture(self) -> Any:
        data = (await self.ask("Page.captureScreenshot"))["data"]
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))

    async def settled(self, *, unlike: Any = None) -> Any:
        """A picture that has stopped to change, other than an earlier one."""
        before = None
        for _ in range(80):
            await asyncio.sleep(0.5)
            now = await self.picture()
            inked = len(np.unique(now.reshape(-1, 3), axis=0)) > 40
            other = unlike is None or (now != unlike).mean() > 0.01
            if inked and other and before is not None and (now != before).mean() < 0.01:
                return now
            before = now
        raise AssertionError("nothing was drawn")


async def in_chromium(url: str, profile: Path, story: Any) -> None:
    chromium = await asyncio.create_subprocess_exec(
        CHROMIUM,
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--no-first-run",
        "--remote-debugging-port=0",
        "--window-size=1200,760",
        f"--user-data-dir={profile}",
        "about:blank",
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        note = profile / "DevToolsActivePort"
        for _ in range(600):
            if note.exists() and len(note.read_text().split()) == 2:
                break
            await asyncio.sleep(0.1)
        port = note.read_text().split()[0]
        async with aiohttp.ClientSession() as session:
            targets = await (await session.get(f"http://127.0.0.1:{port}/json")).json()
            debugger = next(t for t in targets if t["type"] == "page")["webSocketDebuggerUrl"]
            async with session.ws_connect(debugger, max_msg_size=0) as connection:
                browser = Browser(connection)
                await browser.ask("Page.navigate", url=url)
                await story(browser)
    finally:
        chromium.terminate()
        await chromium.wait()


@pytest.mark.slow
@pytest.mark.skipif(not CHROMIUM, reason="no Chromium")
@pytest.mark.parametrize(
    ("page", "obeyed"), [([], False), (["--allow-control"], True)], indirect=["page"]
)
def test_in_chromium(page: str, live: Path, tmp_path: Path, obeyed: bool) -> None:
    async def story(browser: Browser) -> None:
        first = await browser.settled()
        await browser.click(20, 550)  # the page takes keys once it has been clicked
        await browser.press("3")
        latents = await browser.settled(unlike=first)
        Image.fromarray(latents).save(tmp_path / "latents.png")
        await browser.press("p")
        await asyncio.sleep(3)

    asyncio.run(in_chromium(page, tmp_path / "profile", story))
    command = runs.take_command(live)
    assert (command is not None) == obeyed
    assert not obeyed or (command is not None and command.name == "pause")
