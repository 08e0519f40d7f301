"""The verbs that measure what a run's model is good for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from helpers.command_line import run
from lae_fast.analysis import fitting
from lae_fast.progress import heard

Capsys = pytest.CaptureFixture[str]

CALLS = {
    "probe": (["--epochs", "1"], {"accuracy", "loss", "train_accuracy", "train_loss"}),
    "classify": (["-N", "1", "--epochs", "1", "--per-class", "9"], {"accuracy", "loss", "curve"}),
    "attack": (
        ["-N", "1", "--epochs", "1", "--per-class", "9", "--images", "20", "--epsilon", "0.1"],
        {"attacks", "converged", "accuracy"},
    ),
    "anomaly": (["--images", "40", "--score", "mse", "--score", "elbo"], {"detections"}),
}


@pytest.mark.parametrize("verb", CALLS)
def test_lines_and_json(verb: str, root: Path, capsys: Capsys) -> None:
    args, keys = CALLS[verb]
    code, out, _ = run(capsys, verb, "small", *args, "--run-root", str(root))
    assert code == 0
    assert len(out.splitlines()) >= 2
    code, out, err = run(capsys, verb, "small", *args, "--run-root", str(root), "--json")
    assert (code, err) == (0, "")
    assert json.loads(out).keys() > keys


def test_attack_finds_the_classifier_that_classify_kept(root: Path, capsys: Capsys) -> None:
    args = ["small", "--run-root", str(root), "-N", "0", "--epochs", "1", "--per-class", "5"]
    code, _, err = run(capsys, "classify", *args)
    assert "training the classifier" in err
    code, _, err = run(capsys, "attack", *args, "--images", "9", "--epsilon", "0.1")
    assert (code, err) == (0, "")


def test_attack_shares_its_progress_with_the_training(root: Path, capsys: Capsys) -> None:
    args = ["attack", "small", "--run-root", str(root), "-N", "0", "--updates", "60"]
    args += ["--images", "32", "--epsilon", "0.1"]  # 60 * 64 and 40 * 32 images
    for trained in (0.75, 0.0):
        shares: list[float] = []
        with heard(shares.append):
            assert run(capsys, *args)[0] == 0
        assert shares == sorted(shares)
        assert shares[-1] == 1
        assert trained in shares
        assert len([share for share in shares if share < trained]) == (60 - 1 if trained else 0)


@pytest.mark.parametrize("verb", ["probe", "classify", "attack"])
def test_a_result_near_chance_says_so_and_what_to_change(
    verb: str, root: Path, capsys: Capsys
) -> None:
    args = [verb, "small", "--run-root", str(root), "--updates", "1", "--learning-rate", "1e-6"]
    args += ["--images", "20", "--epsilon", "0.1"] if verb == "attack" else []
    code, out, _ = run(capsys, *args)
    assert code == 0
    assert out.count("near chance") == 1
    assert "near chance; give more --updates, and drop --learning-rate;" in out
    start, images = args[:4], args[8:]
    code, out, _ = run(capsys, *start, *images, "--epochs", "1", "--learning-rate", "1e-9")
    assert "near chance; give more --epochs, or drop it, and drop --learning-rate;" in out
    code, out, _ = run(capsys, *start, *images, "--preset", "report", "--epochs", "1")
    assert "drop --preset report" in out


def test_a_training_that_ended_by_itself_does_not_ask_for_updates(
    root: Path, capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fitting, "CHECK_EVERY", 1)
    monkeypatch.setattr(fitting, "PATIENCE", 1)
    monkeypatch.setattr(fitting._Best, "take", lambda self, loss: setattr(self, "stale", 9))
    code, out, _ = run(capsys, "probe", "small", "--run-root", str(root), "--batch-size", "1")
    assert code == 0
    assert "near chance; give another --learning-rate; if that does not help, the latents" in out


@pytest.mark.parametrize("verb", ["probe", "classify", "attack"])
@pytest.mark.parametrize("other", [["--epochs", "1"], ["--preset", "report"]])
def test_updates_beside_epochs_are_refused(
    verb: str, other: list[str], root: Path, capsys: Capsys
) -> None:
    args = [verb, "small", "--run-root", str(root), "--updates", "9", *other]
    code, out, err = run(capsys, *args)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert f"--updates does nothing beside {other[0]}" in err


def test_a_training_without_looks_says_why(root: Path, capsys: Capsys) -> None:
    args = ["classify", "small", "--run-root", str(root), "-N", "0", "--updates", "3"]
    assert "1294 images, 3 updates; too few updates to look" in run(capsys, *args)[1]
    out = run(capsys, *args, "--per-class", "5")[1]
    assert "50 images, 3 updates; too few images to validate on" in out


def test_a_good_result_does_not_speak_of_chance(root: Path, capsys: Capsys) -> None:
    args = ["small", "--run-root", str(root), "-N", "0", "--updates", "400"]
    code, out, _ = run(capsys, "classify", *args)
    assert code == 0
    assert "chance" not in out


def test_a_preset_ranks_below_what_is_typed(root: Path, capsys: Capsys) -> None:
    args = ["classify", "small", "--run-root", str(root), "-N", "0", "--per-class", "4", "--json"]
    code, out, _ = run(capsys, *args, "--preset", "report", "--epochs", "2")
    assert (code, len(json.loads(out)["curve"])) == (0, 2)
    assert (root / "small/classifiers/checkpoints/n0-epochs2-rate0.0001-few4-seed0.json").exists()
    assert json.loads(out)["preset"] == "report"


def test_foreign_images_of_another_size(root: Path, tmp_path: Path, capsys: Capsys) -> None:
    import numpy as np

    np.save(tmp_path / "other.npy", np.zeros((5, 9, 9), np.uint8))
    for against in (str(tmp_path / "other.npy"), "no-such-set"):
        code, out, err = run(
            capsys, "anomaly", "small", "--run-root", str(root), "--against", against
        )
        assert (code, out) == (2, "")
        assert err.count("\n") == 1


@pytest.mark.parametrize("value", ["nan", "inf", "-1"])
def test_numbers_must_be_finite(value: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "probe", "none", "--learning-rate", value)
    assert (code, out) == (2, "")
    assert "--learning-rate" in err
    assert err.count("\n") == 1
