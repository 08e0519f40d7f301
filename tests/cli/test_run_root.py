"""Where runs lie: the flag, else LAE_RUN_ROOT, else the default, for every verb alike."""

from __future__ import annotations

import json
from pathlib import Path

import click
import pytest

from helpers.command_line import VERBS, run
from lae_cli.main import COMMANDS

Capsys = pytest.CaptureFixture[str]
MORE_ARGUMENTS = {
    ("interpolate",): ["class:1", "class:7"],
    ("encode",): ["x.png"],
    ("runs", "rename"): ["other"],
}


def takes_a_run(param: click.Parameter) -> bool:
    return "RUN" in (param.metavar or "") or param.name == "run"


NAMING = [
    words
    for words, command in VERBS.items()
    if any(takes_a_run(param) and isinstance(param, click.Argument) for param in command.params)
]


def test_the_verbs_are_all_there() -> None:
    assert {words[0] for words in VERBS} == set(COMMANDS)
    assert len(NAMING) >= 17


@pytest.mark.parametrize("words", VERBS, ids=" ".join)
def test_a_verb_that_takes_a_run_takes_its_root(words: tuple[str, ...]) -> None:
    params = VERBS[words].params
    if any(map(takes_a_run, params)):
        assert "--run-root" in [option for param in params for option in param.opts]


@pytest.mark.parametrize("words", [*NAMING, ("train", "--resume")], ids=" ".join)
def test_flag_over_environment_over_default(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "flag" / "some").mkdir(parents=True)
    call = [*words, "nope", *MORE_ARGUMENTS.get(words, [])]
    for environment, flags, root in (
        ("environment", ["--run-root", "flag"], "flag"),
        ("environment", [], "environment"),
        (None, [], "runs"),
    ):
        monkeypatch.delenv("LAE_RUN_ROOT", raising=False)
        if environment is not None:
            monkeypatch.setenv("LAE_RUN_ROOT", environment)
        code, out, err = run(capsys, *call, *flags)
        assert (code, out) == (2, "")
        assert f"no run 'nope' in {root};" in err


def test_other_verbs_follow_the_same_rule(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("try.toml").write_text("seeds = 2\n")
    monkeypatch.setenv("LAE_RUN_ROOT", "environment")
    assert "no runs in environment;" in run(capsys, "runs", "ls")[2]
    for flags, root in (([], "environment"), (["--run-root", "flag"], "flag")):
        out = run(capsys, "sweep", "try.toml", "--show", "--json", *flags)[1]
        assert json.loads(out)["folder"] == f"{root}/try"
        for verb in ("experiment", "reproduce"):
            arguments = ["probe"] if verb == "experiment" else []
            context = VERBS[(verb,)].make_context(verb, [*arguments, *flags])
            assert context.params["run_root"] == root
    # The runs of studies lie elsewhere, so that `latest` is the run that the user trained last.
    monkeypatch.delenv("LAE_RUN_ROOT")
    assert VERBS[("reproduce",)].make_context("reproduce", []).params["run_root"] == "studies"


def test_a_misspelt_variable_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: Capsys) -> None:
    monkeypatch.setenv("LAE_RUNROOT", "elsewhere")
    code, _, err = run(capsys, "sample", "nope")
    assert code == 2
    assert "did you mean LAE_RUN_ROOT?" in err
