"""``lae train`` with a stand-in trainer: settings, streams, results, signals, screens."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from helpers import fake_trainer
from helpers.command_line import ROOT, SOURCES, run, screen
from helpers.run_folders import progress
from lae_cli.processes import torchrun
from lae_fast.config import TrainConfig


@pytest.fixture
def trainer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """Put the stand-in in the trainer's place; the configuration it gets lands in the dict."""
    seen: dict[str, Any] = {}

    def train(config: TrainConfig, **more: Any) -> Any:
        seen["config"] = config
        return fake_trainer.train(config, **more)

    monkeypatch.setitem(sys.modules, "lae_fast.train", fake_trainer.module(train))
    monkeypatch.setenv("LAE_RUN_ROOT", str(tmp_path / "runs"))
    return seen


Capsys = pytest.CaptureFixture[str]


def test_only_given_flags_rank_above_file_and_environment(
    trainer: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capsys
) -> None:
    file = tmp_path / "lae.toml"
    file.write_text("epochs = 2\nsteps = 2\nhidden = 32\nmh = false\n")
    monkeypatch.setenv("LAE_STEPS", "4")
    code, _, _ = run(capsys, "train", "--config", str(file), "--hidden", "64", "--no-prior")
    assert code == 0
    config = trainer["config"]
    assert (config.epochs, config.steps, config.hidden) == (2, 4, 64)
    assert (config.mh, config.prior, config.whiten) == (False, False, True)


def test_a_preset_ranks_below_the_environment_and_flags(
    trainer: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: Capsys
) -> None:
    monkeypatch.setenv("LAE_EPOCHS", "3")
    code, _, _ = run(capsys, "train", "--preset", "report", "--steps", "4")
    assert code == 0
    config = trainer["config"]
    assert (config.epochs, config.steps) == (3, 4)
    assert (config.mh, config.prior, config.start, config.ema) == (False, False, "point", 0.0)


def test_a_preset_reaches_every_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capsys
) -> None:
    """Of ranks, and that in the background of the dashboard."""
    words: list[list[str]] = []

    def launch(line: list[str], nproc: int) -> int:
        words.append(line)
        return 0

    def popen(line: list[str], **_: Any) -> None:
        words.append(line)
        raise OSError("that is far enough")

    root = ["--run-root", str(tmp_path)]
    monkeypatch.setattr(torchrun, "launch", launch)
    run(capsys, "train", "--preset", "paper", "--nproc", "2", "--epochs", "7", *root)
    monkeypatch.setattr("lae_cli.dashboard.launch.need_terminal", lambda: None)
    monkeypatch.setattr(subprocess, "Popen", popen)
    run(capsys, "train", "--preset", "paper", "--dashboard", "--epochs", "7", *root)
    assert len(words) == 2
    for line in words:
        assert {"--preset=paper", "--epochs=7"} <= set(line)


def test_a_preset_is_no_change_to_a_run(tmp_path: Path, capsys: Capsys) -> None:
    code, _, err = run(capsys, "train", "--resume", "x", "--preset", "paper")
    assert code == 2
    assert "drop --preset" in err


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (["--steps", "0"], "--steps must be at least 1, not 0"),
        (["--learning-rate", "nan"], "--learning-rate must be a positive number"),
        (["--temperature", "inf"], "--temperature must be"),
        (["--step-size", "-1"], "--step-size must be 'auto' or a positive number"),
        (["--step-size", "adaptive"], "--step-size must be"),
        (["--epochs", "1.5"], "--epochs must be a whole number"),
        (["--likelihood", "gausian"], "did you mean 'gaussian'"),
        (["--device", "tpu"], "--device must be one of auto, cpu, cuda"),
        (["--stepz", "3"], "--steps"),
        (["--steps"], "requires an argument"),
        (["digits"], "unexpected extra argument"),
        (["--config", "/none.toml"], "/none.toml"),
        (["--name", "../x"], "run name"),
        (["--config", "/none.toml"], "cannot read /none.toml: no such file or directory; name a"),
        (
            ["--model", "vae", "--steps", "5"],
            "--steps is for models with a Langevin chain, and vae",
        ),
        (["--model", "iwae", "--no-mh"], "--mh is for models with a Langevin chain, and iwae has"),
        (["--samples", "3"], "--samples is for --model iwae, not lae; drop it"),
    ],
)
def test_bad_input_is_one_line(
    trainer: dict[str, Any], args: list[str], text: str, capsys: Capsys
) -> None:
    code, out, err = run(capsys, "train", *args)
    assert (code, out) == (2, "")
    assert text in err
    assert err.count("\n") == 1


def test_files_and_the_environment_may_serve_any_model(
    trainer: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: Capsys
) -> None:
    monkeypatch.setenv("LAE_STEPS", "4")
    code, _, _ = run(capsys, "train", "--model", "vae", "--epochs", "1", "-q")
    assert code == 0
    assert run(capsys, "train", "--model", "iwae", "--samples", "3", "--epochs", "1", "-q")[0] == 0


def test_json_result(trainer: dict[str, Any], capsys: Capsys, tmp_path: Path) -> None:
    code, out, err = run(capsys, "train", "--epochs", "2", "--json", "--name", "mine")
    assert code == 0
    values = json.loads(out.splitlines()[-1])
    needed = {"run", "epochs", "train_loss", "val_loss", "accept_rate", "step_size"}
    needed |= {"images_per_second"}
    assert values.keys() >= needed | {"status", "best_epoch", "elapsed", "run_dir"}
    assert (values["run"], values["epochs"]) == ("mine", 2)
    assert Path(values["run_dir"]).samefile(tmp_path / "runs" / "mine")
    assert "epoch 2" in err
    assert "\x1b" not in err


def test_plain_lines_are_sparse(trainer: dict[str, Any], capsys: Capsys) -> None:
    _, out, err = run(capsys, "train", "--epochs", "50")
    assert len(err.splitlines()) <= 8
    assert "nats/image" in out
    assert out.count("\n") < 10


def test_quiet(trainer: dict[str, Any], capsys: Capsys) -> None:
    _, out, err = run(capsys, "train", "--epochs", "1", "--quiet")
    assert err == ""
    assert "val loss" in out


def test_numerical_failure(trainer: dict[str, Any], capsys: Capsys) -> None:
    code, out, err = run(
        capsys, "train", "--epochs", "1", "--quiet", "--json", "--temperature", "666"
    )
    assert code == 1
    assert err == "lae: the loss is not finite at iteration 7; try a smaller --step-size\n"
    assert json.loads(out)["train_loss"] is None


def _spawn(tmp_path: Path, *args: str, **extra: str) -> dict[str, Any]:
    environ = SOURCES | {"FAKE_PAUSE": "0.01", "LAE_RUN_ROOT": str(tmp_path)}
    # Sizes there would hide that of the terminal.
    others = ("NO_COLOR", "LC_ALL", "FORCE_COLOR", "COLUMNS", "LINES")
    kept = {k: v for k, v in os.environ.items() if k not in others}
    command = [sys.executable, str(ROOT / "tests/helpers/fake_trainer.py"), "train", *args]
    return {"args": command, "env": kept | environ | extra}


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_signal_ends_the_run_cleanly(tmp_path: Path, number: signal.Signals, code: int) -> None:
    # A test runner under nohup hands down a SIGHUP that is ignored, and the command respects that.
    before = signal.signal(number, signal.SIG_DFL)
    try:
        process = subprocess.Popen(
            **_spawn(tmp_path, "--json"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
    finally:
        signal.signal(number, before)
    assert process.stderr is not None
    process.stderr.readline()  # the run has started
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert process.returncode == code
    assert json.loads(out.splitlines()[-1])["status"] == "interrupted"
    assert "Stopping after this iteration" in err
    assert "Traceback" not in err


def test_second_interrupt_aborts(tmp_path: Path) -> None:
    process = subprocess.Popen(
        **_spawn(tmp_path, FAKE_PAUSE="20"), stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    process.stderr.readline()
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert time.monotonic() - began < 10
    assert err.splitlines()[-1] == "lae: interrupted"


def test_training_survives_a_closed_stderr(tmp_path: Path) -> None:
    process = subprocess.Popen(
        **_spawn(tmp_path, "--epochs", "3", "--json"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    assert process.stdout is not None
    process.stderr.close()
    out = process.stdout.read()
    process.wait(timeout=30)
    assert json.loads(out)["epochs"] == 3


def _screen(tmp_path: Path, rows: int, columns: int, **extra: str) -> str:
    """What the live display writes to a terminal of that size."""
    environ = {"TERM": "xterm-256color"} | extra
    return screen(rows, columns, **_spawn(tmp_path, "--epochs", "4", **environ))


def _last_frame(screen: str) -> list[str]:
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen).replace("\r\n", "\n").replace("\r", "\n")
    lines = text.rstrip("\n").split("\n")
    top = max(n for n, line in enumerate(lines) if re.search(r"[╭+][─-] \S", line))
    bottom = max(n for n, line in enumerate(lines) if re.search(r"^[╰+][─-]", line))
    return lines[top : bottom + 1]


@pytest.mark.parametrize(("rows", "columns"), [(24, 80), (50, 160), (20, 60), (10, 40), (4, 20)])
def test_live_display_fits(tmp_path: Path, rows: int, columns: int) -> None:
    shown = _screen(tmp_path, rows, columns)
    frame = _last_frame(shown)
    assert len(frame) < rows
    assert max(map(len, frame)) <= columns
    if rows >= 24:
        text = "\n".join(frame)
        for word in ("train loss", "val loss", "acceptance", "target", "step size", "latents"):
            assert word in text
        assert any("\u2801" <= char <= "\u28ff" for char in text)
        assert "finished" in text
        assert "[bold]not markup[/]" in shown


def test_live_display_in_ascii_and_without_colour(tmp_path: Path) -> None:
    shown = _screen(tmp_path, 24, 80, LC_ALL="C")
    assert shown.isascii()
    shown = _screen(tmp_path, 24, 80, NO_COLOR="1")
    assert not re.search(r"\x1b\[[0-9;]*(3[0-7]|38;|9[0-7])[0-9;]*m", shown)
    assert f"{progress(80).accept_rate:.3f} = in band" in "\n".join(_last_frame(shown))


def test_dumb_terminal_gets_plain_lines(tmp_path: Path) -> None:
    shown = _screen(tmp_path, 24, 80, TERM="dumb")
    assert "\x1b" not in shown
    assert "epoch 4" in shown


class TestMixedSizes:
    @pytest.fixture
    def photos(self, tmp_path: Path) -> Path:
        (tmp_path / "photos").mkdir()
        for i in range(8):
            Image.new("L", (9 + i % 2, 8), 20 * i).save(tmp_path / "photos" / f"{i}.png")
        return tmp_path / "photos"

    def words(self, photos: Path) -> list[str]:
        root = str(photos.parent)
        return ["train", "--dataset", str(photos), "--epochs", "1", "--run-root", root]

    def test_somebody_at_a_terminal_is_asked(
        self, photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capsys
    ) -> None:
        monkeypatch.setattr("lae_cli.commands.train._can_ask", lambda: True)
        monkeypatch.setattr("click.termui.visible_prompt_func", lambda _: "6")
        code, _, err = run(capsys, *self.words(photos), "--name", "asked")
        assert code == 0
        assert "holds images of 2 sizes: 9x8 (4), 10x8 (4).\n" in err
        config = json.loads((photos.parent / "asked" / "config.json").read_text())
        assert config["image_size"] == 6

    def test_a_script_is_told_what_to_add(self, photos: Path, capsys: Capsys) -> None:
        code, _, err = run(capsys, *self.words(photos))
        assert (code, err.count("\n")) == (2, 1)
        assert "What size should they have? Add --image-size 8 to scale" in err
        code, _, err = run(capsys, *self.words(photos), "--image-size", "8", "--quiet")
        assert code == 0
