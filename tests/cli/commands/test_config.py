"""``lae config init``: a file of settings that `lae train --config` reads."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from helpers.command_line import run
from lae_fast.config import TrainConfig
from lae_fast.config.settings import resolve

Capsys = pytest.CaptureFixture[str]


def test_it_holds_every_setting_with_its_default(tmp_path: Path, capsys: Capsys) -> None:
    file = tmp_path / "lae.toml"
    code, out, err = run(capsys, "config", "init", str(file))
    assert (code, out) == (0, "")
    assert "lae train --config" in err
    text = file.read_text()
    assert resolve({}, file=file, environ={}) == TrainConfig()
    fields = TrainConfig.__dataclass_fields__
    assert re.findall(r"^# (\w+) =", text, flags=re.M) == list(fields)
    off = re.findall(r"^# (\w+) =$", text, flags=re.M)  # no value is made up
    assert off == [name for name, field in fields.items() if field.default is None]
    file.write_text(re.sub(r"^# (?=\w+ = )", "", text, flags=re.M))
    assert resolve({}, file=file, environ={}) == TrainConfig()
    file.write_text(text.replace("# steps = ", "steps = 1"))
    assert resolve({}, file=file, environ={}).steps != TrainConfig.steps


def test_the_printed_command_can_be_pasted(tmp_path: Path, capsys: Capsys) -> None:
    file = tmp_path / "my settings.toml"
    _, _, err = run(capsys, "config", "init", str(file))
    assert f"`lae train --config '{file}'`" in err


def test_a_file_that_exists_stays(tmp_path: Path, capsys: Capsys) -> None:
    file = tmp_path / "lae.toml"
    file.write_text("steps = 7\n")
    code, _, err = run(capsys, "config", "init", str(file))
    assert (code, err.count("\n")) == (2, 1)
    assert "use --force" in err
    assert file.read_text() == "steps = 7\n"
    assert run(capsys, "config", "init", str(file), "--force")[0] == 0
    assert "# steps = " in file.read_text()
