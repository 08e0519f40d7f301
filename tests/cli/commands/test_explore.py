"""The verbs that show a run folder's model."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from helpers import small_runs
from helpers.command_line import run

Capsys = pytest.CaptureFixture[str]

CALLS = {
    "sample": ["-n", "3", "--law", "data"],
    "reconstruct": ["--noise", "0.2"],
    "interpolate": ["class:1", "point:0,0"],
    "traverse": ["--dim", "1", "--around", "image:3"],
    "latents": ["--images", "50"],
    "posterior": ["--images", "2", "--draws", "20", "--warmup", "20"],
}


@pytest.mark.parametrize("verb", CALLS)
def test_pictures_json_and_files(verb: str, root: Path, tmp_path: Path, capsys: Capsys) -> None:
    target = ["small", *CALLS[verb], "--run-root", str(root)]
    code, out, err = run(capsys, verb, *target)
    assert (code, err) == (0, "")
    assert out.strip()
    for suffix in (".png", ".svg", ".npz"):
        file = tmp_path / f"out{suffix}"
        code, out, err = run(capsys, verb, *target, "--json", "--out", str(file))
        assert (code, err) == (0, "")
        assert json.loads(out)["out"] == str(file)
        assert file.stat().st_size > 200


@pytest.mark.parametrize("verb", CALLS)
def test_bad_input_is_one_line(verb: str, root: Path, capsys: Capsys) -> None:
    for args, text in (
        (["none"], "none"),
        (["small", "--out", "x.txt"], ".png"),
        (["small", "--checkpoint", "last"], "'last' checkpoint"),
    ):
        points = CALLS[verb][:2] if verb == "interpolate" else []
        code, out, err = run(capsys, verb, args[0], *points, *args[1:], "--run-root", str(root))
        assert (code, out) == (2, "")
        assert text in err
        assert err.count("\n") == 1


def test_csv_of_latents(root: Path, tmp_path: Path, capsys: Capsys) -> None:
    for suffix in (".csv", ".npz"):
        args = ["small", "--run-root", str(root), "--out", str(tmp_path / f"z{suffix}")]
        run(capsys, "latents", *args)
    with (tmp_path / "z.csv").open() as file:
        header, *rows = csv.reader(file)
    arrays = np.load(tmp_path / "z.npz")
    assert header == ["class", "z0", "z1"]
    assert np.allclose([list(map(float, row[1:])) for row in rows], arrays["latents"])
    assert [int(row[0]) for row in rows] == arrays["labels"].tolist()


def test_images_without_labels_have_no_class(tmp_path: Path, capsys: Capsys) -> None:
    np.save(tmp_path / "images.npy", np.zeros((40, 4, 4), np.uint8))
    small_runs.untrained(tmp_path, latent_dim=2, name="bare", dataset=str(tmp_path / "images.npy"))
    for verb in ("latents", "posterior"):
        args = ["bare", "--run-root", str(tmp_path), "--images", "4"]
        args += ["--draws", "20"] if verb == "posterior" else []
        assert run(capsys, verb, *args, "--out", str(tmp_path / f"{verb}.npz"))[0] == 0
        assert "labels" not in np.load(tmp_path / f"{verb}.npz")
    assert run(capsys, "latents", *args[:3], "--out", str(tmp_path / "z.csv"))[0] == 0
    assert (tmp_path / "z.csv").read_text().startswith("z0,z1\n")


def test_colour_terminals_get_half_blocks(monkeypatch: pytest.MonkeyPatch, capsys: Capsys) -> None:
    from rich.console import Console

    from lae_cli.terminal import pictures

    monkeypatch.setattr(pictures, "has_unicode", lambda stream: True)
    console = Console(force_terminal=True, color_system="truecolor", width=30, legacy_windows=False)
    images = np.full((5, 1, 8, 8), 255, np.uint8)
    pictures.show_rows([("five", images)], console=console)
    out = capsys.readouterr().out
    # Three images of 8 columns fit a line of 30, so five take two rows; with the gap between them
    # these are 17 pixels high, of which the upper 9 are the first row's.
    assert out.count("▀") == 5 * (3 * 8 + 2) + 4 * (2 * 8 + 1)
    assert "38;2;72;72;72" in out
    assert "38;2;255;255;255" in out
