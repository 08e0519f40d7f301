"""``lae export``, ``lae encode`` and ``lae runs export --format tensorboard``: other programs."""

from __future__ import annotations

import csv
import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from helpers.command_line import run
from helpers.small_runs import trained, untrained
from lae_fast.analysis import export as exporting
from lae_fast.analysis.saved import open_run

Capsys = pytest.CaptureFixture[str]

MODELS = {
    "mlp": {},
    "conv": {"architecture": "conv"},
    "vae": {"model": "vae", "likelihood": "gaussian"},
    "point": {"start": "point", "likelihood": "discretized-logistic"},
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    for name, settings in MODELS.items():
        untrained(root, name=name, latent_dim=2, **settings)
    untrained(root, name="few", latent_dim=2)
    return root


class TestExport:
    @pytest.mark.parametrize("name", MODELS)
    def test_onnx_gives_what_the_model_gives(
        self, models: Path, tmp_path: Path, name: str, capsys: Capsys
    ) -> None:
        runtime = pytest.importorskip("onnxruntime")
        words = [name, "--run-root", str(models), "--out", str(tmp_path), "--json"]
        code, out, err = run(capsys, "export", *words)
        assert (code, err) == (0, "")
        assert all(file["difference"] <= 1e-5 for file in json.loads(out)["files"])
        saved = open_run(models / name)
        for n in (1, 7):
            x = np.random.default_rng(n).random((n, *saved.image_shape), dtype=np.float32)
            encoder = runtime.InferenceSession(tmp_path / "encoder.onnx")
            mean, std = encoder.run(["mean", "std"], {"images": x})
            wanted = saved.model.law(torch.from_numpy(x).flatten(1))
            np.testing.assert_allclose(mean, wanted[0], rtol=1e-5, atol=1e-5)
            np.testing.assert_allclose(std, wanted[1], rtol=1e-5, atol=1e-5)
            decoder = runtime.InferenceSession(tmp_path / "decoder.onnx")
            (images,) = decoder.run(["images"], {"latents": mean})
            wanted_images = saved.model.decode(torch.from_numpy(mean)).numpy()
            np.testing.assert_allclose(images.reshape(n, -1), wanted_images, rtol=1e-5, atol=1e-5)
            assert images.shape == x.shape

    def test_torchscript_goes_into_the_run_folder(self, models: Path, capsys: Capsys) -> None:
        words = ["mlp", "--run-root", str(models), "--format", "torchscript"]
        code, out, err = run(capsys, "export", *words)
        assert (code, err) == (0, "")
        assert "images -> mean, std, at most" in out
        decoder = torch.jit.load(models / "mlp" / "export" / "decoder.pt")
        assert decoder(torch.zeros(3, 2)).shape == (3, 1, 8, 8)

    def test_a_file_that_computes_something_else_is_no_success(
        self, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(exporting, "_write_torchscript", lambda *_: lambda x: x)
        monkeypatch.setattr(exporting.Encoder, "forward", lambda self, images: images + 1e-4)
        with pytest.raises(RuntimeError, match=r"encoder\.pt differs from the model by 0\.0001"):
            exporting.export(open_run(models / "mlp"), "torchscript", tmp_path)

    @pytest.mark.parametrize("missing", ["onnx", "onnxscript", "onnxruntime"])
    def test_missing_packages_are_named(
        self,
        models: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: Capsys,
        missing: str,
    ) -> None:
        pytest.importorskip("onnxscript")
        find = importlib.util.find_spec
        hide = lambda name, *rest: None if name == missing else find(name, *rest)  # noqa: E731
        monkeypatch.setattr(importlib.util, "find_spec", hide)
        words = ["few", "--run-root", str(models), "--out", str(tmp_path)]
        code, out, err = run(capsys, "export", *words)
        if missing == "onnxruntime":
            assert code == 0
            assert out.count("not checked: onnxruntime is missing") == 2
        else:
            assert code == 2
            assert f"needs {missing}; pip install 'lae-fast[export]'" in err
            assert not list(tmp_path.iterdir())


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """A folder with a large colour and a small grey image, and an array of two."""
    folder = tmp_path / "folder"
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (16, 20, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "a.png")
    Image.fromarray(pixels[:8, :8, 0]).save(folder / "b.png")
    np.save(tmp_path / "two.npy", pixels[None, :8, :8, 0].repeat(2, 0))
    return [folder, tmp_path / "two.npy"]


class TestEncode:
    def test_files_folders_and_arrays(
        self, models: Path, files: list[Path], tmp_path: Path, capsys: Capsys
    ) -> None:
        words = ["few", *map(str, files), "--run-root", str(models), "--resize"]
        code, out, err = run(capsys, "encode", *words, "--json")
        assert (code, err) == (0, "")
        found = json.loads(out)
        assert [Path(name).name for name in found["files"]] == [
            "a.png",
            "b.png",
            "two.npy[0]",
            "two.npy[1]",
        ]
        z = np.array(found["latents"])
        assert z.shape == (4, 2)
        np.testing.assert_array_equal(z[1], z[2])  # the same image, from a file and an array
        assert not np.array_equal(z[0], z[1])
        for suffix in (".csv", ".npz"):
            assert run(capsys, "encode", *words, "--out", str(tmp_path / f"z{suffix}"))[0] == 0
        with (tmp_path / "z.csv").open() as file:
            header, *rows = csv.reader(file)
        assert header == ["file", "z0", "z1"]
        np.testing.assert_allclose([list(map(float, row[1:])) for row in rows], z, rtol=1e-6)
        arrays = np.load(tmp_path / "z.npz")
        assert arrays["files"].tolist() == found["files"]
        np.testing.assert_allclose(arrays["latents"], z, rtol=1e-6)

    def test_latents_are_those_of_the_encoder(
        self, models: Path, files: list[Path], capsys: Capsys
    ) -> None:
        _, out, _ = run(capsys, "encode", "few", str(files[1]), "--run-root", str(models), "--json")
        x = torch.from_numpy(np.load(files[1]).reshape(2, -1) / 255).float()
        wanted = open_run(models / "few").model.encode(x)
        torch.testing.assert_close(torch.tensor(json.loads(out)["latents"]), wanted)

    def test_bad_files_are_one_line(
        self, models: Path, files: list[Path], tmp_path: Path, capsys: Capsys
    ) -> None:
        np.save(tmp_path / "wide.npy", np.zeros((2, 9, 8)))
        for words, text in (
            ([str(files[0])], "a.png is 20x16 and the model's images are 8x8; add --resize"),
            ([str(tmp_path / "wide.npy")], "are (1, 9, 8) and the model's (1, 8, 8)"),
            (["nothing"], "there is no file or folder nothing"),
            ([], "FILES"),
        ):
            code, out, err = run(capsys, "encode", "few", *words, "--run-root", str(models))
            assert (code, out) == (2, "")
            assert text in err
            assert err.count("\n") == 1


def test_a_class_must_be_named_for_a_conditional_model(
    tmp_path: Path, files: list[Path], capsys: Capsys
) -> None:
    trained(tmp_path, name="c", conditional=True, epochs=1, latent_dim=2)
    where = ["--run-root", str(tmp_path)]
    assert "add --label CLASS" in run(capsys, "encode", "c", str(files[1]), *where)[2]
    found = [
        json.loads(run(capsys, "encode", "c", str(files[1]), "--label", k, "--json", *where)[1])
        for k in ("1", "2")
    ]
    assert found[0]["latents"] != found[1]["latents"]
    code, _, err = run(capsys, "export", "c", *where)
    assert (code, "also needs labels" in err) == (2, True)


def test_tensorboard_reads_the_log(tmp_path: Path, capsys: Capsys) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    path = trained(tmp_path, name="r", epochs=3, latent_dim=2)
    words = ["r", "--run-root", str(tmp_path), "--format", "tensorboard"]
    for _ in range(2):  # the second replaces the first
        code, _, err = run(capsys, "runs", "export", *words)
        assert code == 0
        assert "tensorboard --logdir" in err
    log = accumulator.EventAccumulator(str(path / "tensorboard"))
    log.Reload()
    text = (path / "events.jsonl").read_text().splitlines()
    epochs = [e for e in map(json.loads, text) if e["type"] == "evaluated"]
    for tag in ("val_loss", "train_loss", "accept_rate"):
        found = [(e.step, e.value, e.wall_time) for e in log.Scalars(f"epoch/{tag}")]
        wanted = [(e["iteration"], pytest.approx(e[tag]), e["time"]) for e in epochs]
        assert found == wanted
    assert len(log.Scalars("epoch/latent_std/1")) == 3
    assert log.Scalars("iteration/grad_norm")
    assert log.Images("prior_samples")
    assert b"run_root" in log.Tensors("config/text_summary")[0].tensor_proto.string_val[0]
    elsewhere = ["--out", str(path / "tensorboard")]
    code, _, err = run(capsys, "runs", "export", *words, *elsewhere)
    assert (code, "holds a TensorBoard log already" in err) == (2, True)


def test_tensorboard_goes_without_pictures_that_are_broken(tmp_path: Path, capsys: Capsys) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    path = trained(tmp_path, name="r", epochs=1, latent_dim=2)
    for snapshot in path.glob("snapshots/*.npz"):
        snapshot.write_bytes(b"PK\3\4" + snapshot.read_bytes()[4:-40])
    words = ["r", "--run-root", str(tmp_path), "--format", "tensorboard"]
    code, _, err = run(capsys, "runs", "export", *words)
    assert code == 0, err
    log = accumulator.EventAccumulator(str(path / "tensorboard"))
    log.Reload()
    assert log.Tags()["images"] == []
    assert log.Scalars("epoch/val_loss")
