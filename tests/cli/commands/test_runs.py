"""``lae runs`` on good, broken and hostile folders."""

from __future__ import annotations

import builtins
import csv
import io
import json
import os
import threading
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from helpers.fake_trainer import StopRequest, train
from helpers.run_folders import answer, write_run
from lae_cli.commands.runs import runs as command
from lae_fast import runs as store
from lae_fast.config import TrainConfig
from lae_fast.runs import notes


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("alpha", "beta"):
        config = TrainConfig(run_root=str(tmp_path), name=name, epochs=2, steps=3)
        list(train(config, stop=StopRequest()))
    return tmp_path


def invoke(root: Path, *args: str, text: str | None = None) -> Result:
    return CliRunner().invoke(command, [*args, "--run-root", str(root)], input=text)


def test_ls(root: Path) -> None:
    (root / "stray [bold]folder").mkdir()
    (root / os.fsdecode(b"bad\xff\x1b[31m")).mkdir()
    result = invoke(root, "ls")
    assert result.exit_code == 0, result.output
    for text in ("alpha", "beta", "finished", "T=3", "not a run", "stray [bold]folder"):
        assert text in result.output
    assert "\x1b" not in result.output
    values = {value["name"]: value for value in json.loads(invoke(root, "ls", "--json").output)}
    assert values.keys() > {"alpha", "beta"}
    assert values["alpha"]["best_val_loss"] > 0
    assert values["stray [bold]folder"]["best_val_loss"] is None


def test_ls_empty(tmp_path: Path) -> None:
    result = invoke(tmp_path / "none", "ls")
    assert result.exit_code == 0
    assert "lae train" in result.stderr
    assert json.loads(invoke(tmp_path, "ls", "--json").output) == []


def test_ls_names_sweeps(tmp_path: Path) -> None:
    write_run(tmp_path / "wide", "point")
    (tmp_path / "wide" / "sweep.json").write_text("{}")
    result = invoke(tmp_path, "ls")
    assert "no runs in" in result.stderr
    assert f"wide is a sweep; `lae runs ls --run-root {tmp_path / 'wide'}`" in result.stderr
    assert "point" in invoke(tmp_path / "wide", "ls").output


def test_run_root_from_the_environment(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAE_RUN_ROOT", str(root))
    assert "alpha" in CliRunner().invoke(command, ["ls"]).output


def test_a_column_of_losses_names_the_quantity(tmp_path: Path) -> None:
    write_run(tmp_path, "one", model="vae")
    write_run(tmp_path, "two")
    assert "val -ELBO" in invoke(tmp_path, "ls").output
    assert "-ELBO" in invoke(tmp_path, "show", "one").output
    write_run(tmp_path, "three", start="point")
    output = invoke(tmp_path, "ls").output
    assert "val loss" in output
    assert output.count("-ELBO") == 2
    assert output.count("potential") == 1
    values = json.loads(invoke(tmp_path, "ls", "--json").output)
    assert {each["val_quantity"] for each in values} == {"-ELBO", "potential"}


def test_show(root: Path) -> None:
    output = invoke(root, "show", "al").output
    assert "finished" in output
    assert "nats/image" in output
    assert "steps             3" in output
    values = json.loads(invoke(root, "show", "latest", "--json").output)
    assert values["config"]["steps"] == 3


def test_unknown_run_names_the_closest(root: Path) -> None:
    for verb in ("show", "rm", "export"):
        result = invoke(root, verb, "alpah")
        assert isinstance(result.exception, store.RunError)
        assert "did you mean 'alpha'" in str(result.exception)


def test_rm_asks(root: Path) -> None:
    result = invoke(root, "rm", "alpha", text="n\n")
    assert result.exit_code != 0
    assert (root / "alpha").exists()
    assert invoke(root, "rm", "alpha", "beta", text="y\n").exit_code == 0
    assert not (root / "alpha").exists()
    assert not (root / "beta").exists()


def test_rm_refuses_foreign_folders(root: Path) -> None:
    (root / "photos").mkdir()
    result = invoke(root, "rm", "photos", "--yes", "--force")
    assert isinstance(result.exception, store.RunError)
    assert (root / "photos").exists()


def test_export(root: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(invoke(root, "export", "alpha").output)))
    assert rows[0]["type"] == "run_started"
    assert rows[-1]["type"] == "run_finished"
    out = root / "out.json"
    result = invoke(root, "export", "alpha", "--format", "json", "--out", str(out))
    assert (result.exit_code, result.output) == (0, "")
    assert len(json.loads(out.read_text())["events"]) == len(rows)


def test_failed_export_leaves_the_file_alone(root: Path) -> None:
    (root / "empty").mkdir()
    out = root / "precious.csv"
    out.write_text("keep")
    assert invoke(root, "export", "empty", "--out", str(out)).exit_code != 0
    assert out.read_text() == "keep"


def test_stop_is_answered_by_the_trainer(tmp_path: Path) -> None:
    run = write_run(tmp_path, "live", status=None, began=time.time() - 60)
    answer(run, "stop", "an answer from before")

    def trainer() -> None:
        while (taken := store.take_command(run)) is None:
            time.sleep(0.01)
        answer(run, taken.name, f"stopping after {taken.args['after']}")

    thread = threading.Thread(target=trainer, daemon=True)
    thread.start()
    done = invoke(tmp_path, "stop", "live", "--after", "epoch")
    thread.join(5)
    assert (done.exit_code, done.stderr) == (0, "live: stopping after epoch\n")


def test_stop_without_a_trainer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_run(tmp_path, "done")
    assert "done has already ended (finished)" in str(invoke(tmp_path, "stop", "done").exception)
    write_run(tmp_path, "deaf", status=None, began=time.time() - 60)
    monkeypatch.setattr("lae_cli.commands.runs.ANSWER_WITHIN", 0.1)
    assert "has not answered" in str(invoke(tmp_path, "stop", "deaf").exception)


def test_show_takes_the_newest(root: Path) -> None:
    newest = json.loads(invoke(root, "ls", "--json").output)[0]["name"]
    assert json.loads(invoke(root, "show", "--json").output)["name"] == newest


def test_rename(root: Path) -> None:
    assert invoke(root, "rename", "alpha", "gamma").exit_code == 0
    assert not (root / "alpha").exists()
    assert store.read_config(root / "gamma")["name"] == "gamma"
    for name in ("beta", "../delta", "", "a b"):
        result = invoke(root, "rename", "gamma", name)
        assert isinstance(result.exception, store.RunError)
    write_run(root, "live", status=None, began=time.time() - 5, pid=os.getpid())
    result = invoke(root, "rename", "live", "other")
    assert "still running; stop it first" in str(result.exception)


def test_note(root: Path) -> None:
    assert invoke(root, "note", "alpha").output == ""
    assert invoke(root, "note", "alpha", "same result\nwith half the rate").exit_code == 0
    assert invoke(root, "note", "alpha").output == "same result\nwith half the rate\n"
    assert "note              same result" in invoke(root, "show", "alpha").output
    assert json.loads(invoke(root, "show", "alpha", "--json").output)["note"].startswith("same")
    assert invoke(root, "note", "alpha", "").exit_code == 0
    assert json.loads(invoke(root, "show", "alpha", "--json").output)["note"] is None


def test_a_note_of_other_bytes_or_on_a_bad_disk(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = root / "alpha"
    notes.write_note(run, os.fsdecode(b"a\xffb"))
    assert notes.read_note(run) == "a?b"

    class Bad(io.BytesIO):
        def read(self, *_: object) -> bytes:
            raise OSError("input/output error")

    real_open = builtins.open
    monkeypatch.setattr(
        builtins, "open", lambda path, *a, **k: Bad() if isinstance(path, int) else real_open(path)
    )
    assert notes.read_note(run) == ""


def names(result: Result) -> set[str]:
    return {value["name"] for value in json.loads(result.output)}


@pytest.mark.parametrize(
    ("where", "found"),
    [
        (["model=vae"], {"vae"}),
        (["epochs>=3", "status=finished"], {"long"}),
        (["status!=finished", "model=lae"], {"live"}),
        (["age>2h"], {"long", "vae"}),
        (["best_val_loss<1"], set()),
        (["mh=yes", "latent_dim=2"], {"long", "short", "vae", "live"}),
    ],
)
def test_conditions_pick_runs(tmp_path: Path, where: list[str], found: set[str]) -> None:
    now = time.time()
    write_run(tmp_path, "long", epochs=4, began=now - 90_000)
    write_run(tmp_path, "short", epochs=1, began=now - 600)
    write_run(tmp_path, "vae", model="vae", status="stopped", epochs=2, began=now - 90_000)
    write_run(tmp_path, "live", status=None, began=now - 100, pid=os.getpid())
    (tmp_path / "stray").mkdir()
    options = [word for text in where for word in ("--where", text)]
    assert names(invoke(tmp_path, "ls", "--json", *options)) == found
    assert invoke(tmp_path, "rm", "--yes", *options).exit_code == 0
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"long", "short", "vae", "live", "stray"} - found | {"live"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("epochs", "write, say, 'epochs<2'"),
        ("epoch<2", "did you mean 'epochs'"),
        ("epochs<two", "epochs is a number"),
        ("age>7", "such as 7d"),
        ("age>1.2.3d", "such as 7d"),
        ("age>.d", "such as 7d"),
        ("model<vae", "compare it by = or !="),
        ("mh=perhaps", "yes or no"),
    ],
)
def test_conditions_that_cannot_be_read(root: Path, text: str, said: str) -> None:
    for verb in (["ls"], ["rm", "--yes"]):
        result = invoke(root, *verb, "--where", text)
        assert said in str(result.exception)
    assert (root / "alpha").exists()


def test_rm_takes_names_or_a_condition(root: Path) -> None:
    for args in ([], ["alpha", "--where", "epochs<9"]):
        assert invoke(root, "rm", "--yes", *args).exit_code == 2


def test_names_are_whole_on_80_columns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from rich.console import Console

    from lae_cli.commands.runs import _table

    for k in range(2):
        write_run(tmp_path, f"fashion-mnist-hoffman-20261125-13521{k}", status="stopped-early")
    Console(width=80).print(_table(store.list_runs(tmp_path)))
    lines = [line for line in capsys.readouterr().out.splitlines() if "hoffman" in line]
    assert len(lines) == 2
    for line in lines:
        assert line.split()[0].startswith("fashion-mnist-hoffman-20261125-13521")
        assert "stopped-early" in line
        assert "0.610" in line
