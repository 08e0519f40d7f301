"""Alerts: what they tell of, to whom, and that nothing they do ends a training."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from helpers.command_line import run
from helpers.run_folders import NOW, evaluated, finished, started
from lae_cli.progress.alerts import Alerts
from lae_fast import __version__
from lae_fast.config.settings import layered
from lae_fast.runs.events import Event, Message

WARNINGS = {
    "diverged": Message(time=NOW, level="warning", text="diverging: loss 90 after 30; lower it"),
    "stuck": Message(time=NOW, level="warning", text="stuck chain: acceptance 0.001; lower it"),
    "failed": finished(status="failed"),
    "crashed": None,
    "finished": finished(status="stopped-early"),
    "better": evaluated(3, val_loss=79.5),
}


def told(
    tmp_path: Path, *events: Event, error: Exception | None = None, command: str | None = None
) -> tuple[list[str], list[str]]:
    """What an alert's command wrote, and what was said."""
    out, said = tmp_path / "told", []
    asked = command or f'echo "$LAE_EVENT $LAE_RUN $LAE_STATUS $LAE_VAL_LOSS" >> {out}'
    alerts = Alerts(asked, None, 80.0, said.append)
    for event in (started(run="runs/r"), *events):
        alerts(event)
    alerts.close(error)
    return (out.read_text().splitlines() if out.exists() else []), said


@pytest.mark.parametrize("kind", WARNINGS)
def test_each_kind_is_told_once(kind: str, tmp_path: Path) -> None:
    event = WARNINGS[kind]
    error = RuntimeError("a defect") if event is None else None
    lines, said = told(tmp_path, *([event] * 2 if event else []), error=error)
    assert said == []
    assert [line.split()[:2] for line in lines] == [[kind, "runs/r"]]


def test_a_loss_above_the_limit_and_other_news_are_none(tmp_path: Path) -> None:
    warning = Message(time=NOW, level="warning", text="unused latents: the decoder ignores them")
    assert told(tmp_path, evaluated(1, val_loss=80.5), warning) == ([], [])


def test_a_run_that_ended_has_not_crashed(tmp_path: Path) -> None:
    lines, _ = told(tmp_path, finished(status="failed"), error=RuntimeError("numbers"))
    assert [line.split()[0] for line in lines] == ["failed"]


def test_a_run_that_was_warned_of_and_then_fails_is_told_twice(tmp_path: Path) -> None:
    error = Message(time=NOW, level="error", text="the loss is not finite in iteration 7")
    events = (WARNINGS["diverged"], error, finished(status="failed"))
    out = tmp_path / "texts"
    told(tmp_path, *events, command=f'echo "$LAE_EVENT: $LAE_TEXT" >> {out}')
    assert sorted(out.read_text().splitlines()) == [
        "diverged: diverging: loss 90 after 30; lower it",
        "failed: the loss is not finite in iteration 7",
    ]


def test_a_command_that_fails_is_one_warning(tmp_path: Path) -> None:
    _, (warning,) = told(tmp_path, finished(), command="echo no such luck >&2; exit 3")
    assert "'finished' of --on-event failed: exit code 3 no such luck" in warning


def test_what_a_command_is_told_is_no_setting() -> None:
    names = ("EVENT", "RUN", "STATUS", "TEXT", "VAL_LOSS")
    assert layered({}, {}, {f"LAE_{name}": "x" for name in names}) == {}


@pytest.fixture
def address() -> Iterator[tuple[str, list[Any]]]:
    """An address, and what was posted there."""
    posted: list[Any] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            posted.append(json.loads(body) | {"agent": self.headers["User-Agent"]})
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/hook", posted
    server.shutdown()
    server.server_close()


def test_a_webhook_gets_json(address: tuple[str, list[Any]]) -> None:
    where, posted = address
    alerts = Alerts(None, where, None, pytest.fail)
    alerts(started(run="runs/r"))
    alerts(finished())
    alerts.close()
    (values,) = posted
    assert (values["event"], values["status"]) == ("finished", "finished")
    assert values["agent"] == f"lae-fast/{__version__}"
    assert values["content"] == values["text"] == "runs/r: finished, finished after 3 epochs"


def test_an_address_that_cannot_be_asked_is_one_warning() -> None:
    said: list[str] = []
    alerts = Alerts(None, "http://a b/", None, said.append)
    alerts(started(run="runs/r"))
    alerts(finished())
    alerts.close()
    (warning,) = said
    assert "'finished' of --webhook failed" in warning


@pytest.mark.parametrize("address", ["http://a b", "http://", "https:///hook", "http://[::1"])
def test_an_address_without_a_host_is_refused(
    address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capsys, "train", "--webhook", address)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "must name a host and have no spaces" in err


def test_train_gives_alerts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "told"
    root = ["--run-root", str(tmp_path / "runs"), "--name", "small"]
    small = ["--epochs", "2", "--hidden", "16", "--latent-dim", "2", "--quiet"]
    hook = ["--on-event", f"echo $LAE_EVENT >> {out}", "--better-than", "1e9"]
    code, _, err = run(capsys, "train", *root, *small, *hook)
    assert (code, err) == (0, "")
    assert sorted(out.read_text().split()) == ["better", "finished"]
    code, _, err = run(capsys, "train", *root, "--webhook", "ftp://x")
    assert (code, err.count("\n")) == (2, 1)
    assert "must begin with http" in err
    code, _, err = run(capsys, "train", *root, "--better-than", "80")
    assert code == 2
    assert "needs --on-event" in err
