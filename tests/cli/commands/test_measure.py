"""The verbs that measure what a run's model is good for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from helpers.command_line import run

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
