"""`fit` trains a user's networks as ``lae train`` trains the library's; `load` gives them back."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import json
import os
import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import lae_fast
from helpers import own_networks
from helpers.command_line import run as lae
from helpers.own_networks import LATENTS, SHORT
from lae_fast import runs
from lae_fast.analysis import snapshots
from lae_fast.config.settings import resumed
from lae_fast.data.arrays import from_array
from lae_fast.errors import CheckpointError, ConfigError, DataError, RunError, UntraceableError
from lae_fast.models import own
from lae_fast.runs import checkpoint
from lae_fast.runs.events import Evaluated, RunFinished, RunStarted
from lae_fast.train import train


def fit(root: Path, **changes: Any) -> lae_fast.TrainedModel:
    given = {
        "encoder": own_networks.encoder(),
        "decoder": own_networks.decoder(),
        "images": own_networks.images(),
        "run_root": str(root),
        "name": "mine",
    }
    return lae_fast.fit(**given | SHORT | changes)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with the run ``mine`` of own networks, with labels."""
    root = tmp_path_factory.mktemp("runs")
    fit(root, labels=np.arange(60) % 3)
    return root


@pytest.fixture
def model(root: Path) -> lae_fast.TrainedModel:
    return lae_fast.load("mine", run_root=str(root))


class TestFit:
    def test_trains_in_place_and_leaves_the_best_weights(self, tmp_path: Path) -> None:
        encoder, decoder = own_networks.encoder(), own_networks.decoder()
        model = fit(tmp_path, encoder=encoder, decoder=decoder)
        assert all(p.requires_grad for p in [*encoder.parameters(), *decoder.parameters()])
        assert not torch.equal(encoder[0].weight, own_networks.encoder()[0].weight)
        x = torch.from_numpy(own_networks.images(5))[:, None]
        x = (x * 255).round() / 255
        with torch.no_grad():
            torch.testing.assert_close(encoder(x) @ model.model.phi.T, model.encode(x))
            torch.testing.assert_close(decoder(torch.ones(1, 2)).sigmoid(), flat(model))

    def test_tells_its_events(self, tmp_path: Path) -> None:
        events: list[Any] = []
        fit(tmp_path, on_event=events.append)
        assert isinstance(events[0], RunStarted)
        assert isinstance(events[-1], RunFinished)
        assert [e.epoch for e in events if isinstance(e, Evaluated)] == [1, 2]

    def test_an_interruption_ends_it_and_keeps_what_was_learned(self, tmp_path: Path) -> None:
        before = signal.getsignal(signal.SIGINT)

        def interrupt(event: Any) -> None:
            if isinstance(event, Evaluated) and event.epoch == 2:
                os.kill(os.getpid(), signal.SIGINT)

        model = fit(tmp_path, on_event=interrupt, epochs=1000, patience=0)
        assert runs.summarise(model.path).status == "interrupted"
        assert 2 <= len(model.history) <= 4
        assert signal.getsignal(signal.SIGINT) is before

    def test_it_runs_in_other_threads(self, tmp_path: Path) -> None:
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            model = pool.submit(fit, tmp_path, epochs=1).result()
        assert len(model.history) == 1

    def test_progress_is_a_line_now_and_then(
        self, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        fit(tmp_path, progress=True)
        out, err = capfd.readouterr()
        assert not out
        assert re.search(r"finished after 2 epochs, .* validation loss [\d.]+ nats per image", err)

    @pytest.mark.parametrize("model", ["vae", "hoffman", "iwae", "frozen"])
    def test_every_model_takes_own_networks(self, tmp_path: Path, model: str) -> None:
        width = 6 if model == "frozen" else 2 * LATENTS
        found = fit(tmp_path, encoder=own_networks.encoder(width), model=model, epochs=1)
        assert found.encode(own_networks.images(3)).shape == (3, LATENTS)

    def test_a_data_set_by_name(self, tmp_path: Path) -> None:
        networks = {
            "encoder": nn.Sequential(nn.Flatten(), nn.Linear(64, 8)),
            "decoder": nn.Linear(LATENTS, 64),
        }
        model = fit(tmp_path, images="digits", batch_size=512, epochs=1, **networks)
        assert model.config.dataset == "digits"
        assert not (model.path / "images.npz").exists()

    def test_resumed_from_python_or_the_folder_it_ends_with_the_same_bytes(
        self, tmp_path: Path
    ) -> None:
        fit(tmp_path, name="whole", epochs=3)
        for name in ("python", "folder"):
            fit(tmp_path, name=name, epochs=1)
        more = {"images": None, "epochs": 3, "progress": False, "run_root": str(tmp_path)}
        networks = own_networks.encoder(), own_networks.decoder()
        lae_fast.fit(*networks, resume="python", **more)
        folder = tmp_path / "folder"
        list(train(resumed(runs.read_config(folder), {"epochs": 3}), resume=folder))
        files = {
            name: (tmp_path / name / "checkpoints" / "last.safetensors").read_bytes()
            for name in ("whole", "python", "folder")
        }
        assert files["whole"] == files["python"] == files["folder"]

    def test_networks_unlike_those_of_the_run_do_not_resume_it(self, tmp_path: Path) -> None:
        path = fit(tmp_path, epochs=1).path
        before = (path / "events.jsonl").read_bytes()
        for encoder, text in ((own_networks.encoder(7), "like those"), (nn.Linear(5, 5), "fails")):
            with pytest.raises(ConfigError, match=text):
                lae_fast.fit(encoder, own_networks.decoder(), resume=path, epochs=2)
        assert (path / "events.jsonl").read_bytes() == before

    @pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
    def test_a_run_that_cannot_begin_leaves_no_folder(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
    ) -> None:
        def fails(*_: object) -> None:
            raise error

        monkeypatch.setattr("lae_fast.data.arrays.replace_file", fails)
        kind, text = (
            (RunError, "no space left") if isinstance(error, OSError) else (type(error), None)
        )
        with pytest.raises(kind, match=text):
            fit(tmp_path)
        assert not list(tmp_path.iterdir())


def flat(model: lae_fast.TrainedModel) -> Tensor:
    return model.decode(torch.ones(1, LATENTS)).flatten(1)


class Draws(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(LATENTS, 36)

    def forward(self, z: Tensor) -> Tensor:
        return nn.functional.dropout(self.linear(z), 0.5)


def tied() -> dict[str, nn.Module]:
    a, b = nn.Linear(36, LATENTS), nn.Linear(LATENTS, 36)
    b.weight = nn.Parameter(a.weight.detach().T)  # another shape of the same memory
    return {"encoder": nn.Sequential(nn.Flatten(), a), "decoder": b}


def not_finite() -> nn.Module:
    decoder = own_networks.decoder()
    nn.init.constant_(decoder[0].weight, float("nan"))
    return decoder


BAD: dict[str, tuple[Callable[[], dict[str, Any]], type[Exception], str]] = {
    "unknown setting": (
        lambda: {"latent_dimm": 3},
        ConfigError,
        "unknown setting 'latent_dimm'; did you mean 'latent_dim'?",
    ),
    "no images": (lambda: {"images": None}, ConfigError, "give images"),
    "floats out of range": (
        lambda: {"images": 2 * np.ones((9, 6, 6))},
        DataError,
        "scale them to [0, 1]",
    ),
    "labels": (lambda: {"labels": [1, 2]}, DataError, "give one label per image"),
    "one image": (lambda: {"images": np.ones((1, 6, 6))}, DataError, "too few images"),
    "no test set": (lambda: {"validation": "test"}, DataError, "has no test set"),
    "settled by the networks": (lambda: {"hidden": 3}, ConfigError, "hidden follows from"),
    "conditional": (lambda: {"conditional": True}, ConfigError, "conditional"),
    "encoder fails": (
        lambda: {"encoder": nn.Linear(5, 5)},
        ConfigError,
        "the encoder fails on an input (n, 1, 6, 6)",
    ),
    "encoder keeps planes": (
        lambda: {"encoder": nn.Conv2d(1, 2, 3)},
        ConfigError,
        "nn.Flatten() as its last layer",
    ),
    "decoder fails": (lambda: {"latent_dim": 3}, ConfigError, "give latent_dim=... as wide"),
    "decoder too small": (
        lambda: {"decoder": nn.Linear(LATENTS, 35)},
        ConfigError,
        "return images (n, 1, 6, 6)",
    ),
    "batch norm": (
        lambda: {"decoder": nn.Sequential(nn.Linear(LATENTS, 36), nn.BatchNorm1d(36))},
        ConfigError,
        "nn.GroupNorm(1, channels) in place of nn.BatchNorm2d",
    ),
    "dropout": (lambda: {"decoder": Draws()}, ConfigError, "take out dropout"),
    "not finite": (
        lambda: {"decoder": not_finite()},
        ConfigError,
        "the decoder returns numbers that are not finite",
    ),
    "tied weights": (tied, ConfigError, "encoder.1.weight and decoder.weight share their weights"),
    "doubles": (
        lambda: {"decoder": own_networks.decoder().double()},
        ConfigError,
        "call .float() on the decoder",
    ),
    "no parameters": (lambda: {"encoder": nn.Flatten()}, ConfigError, "no parameters to train"),
    "too few numbers for a vae": (
        lambda: {"model": "vae"},
        ConfigError,
        "returns 6 numbers per image; this model needs 4",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_trained_is_refused_in_one_line(tmp_path: Path, case: str) -> None:
    changes, kind, text = BAD[case]
    with pytest.raises(kind, match=re.escape(text)) as caught:
        fit(tmp_path, **changes())
    assert str(caught.value).isprintable()
    assert not list(tmp_path.iterdir())  # no folder of a run that never was


class TestTrainedModel:
    def test_shapes_ranges_and_history(self, model: lae_fast.TrainedModel) -> None:
        x = own_networks.images(4)
        z = model.encode(x)
        assert z.shape == (4, LATENTS)
        assert torch.equal(z, model.encode(torch.from_numpy(x)[:, None]))
        for pictures in (model.decode(z), model.sample(4)):
            assert pictures.shape == (4, 1, 6, 6)
            assert 0 <= pictures.min() <= pictures.max() <= 1
        assert not torch.equal(model.sample(4), model.sample(4, seed=1))
        assert [row["epoch"] for row in model.history] == [1, 2]
        assert model.posterior(x, draws=20, warmup=20).mean.shape == (4, LATENTS)

    def test_log_likelihood_is_below_the_likelihood_of_a_flat_model(
        self, model: lae_fast.TrainedModel
    ) -> None:
        found = model.log_likelihood(own_networks.images(5), samples=200)
        assert found.shape == (5,)
        # Noise has nothing to be learned: 36 pixels at best with log 1/2 each.
        torch.testing.assert_close(found, torch.full((5,), -25.0).double(), atol=2.0, rtol=0)

    def test_other_images_are_refused(self, model: lae_fast.TrainedModel) -> None:
        with pytest.raises(DataError, match=re.escape("(1, 5, 5)")):
            model.encode(np.zeros((2, 5, 5)))
        with pytest.raises(ConfigError, match=re.escape("(n, 2)")):
            model.decode(torch.zeros(2, 3))

    def test_shows_itself_without_anything_from_elsewhere(
        self, model: lae_fast.TrainedModel
    ) -> None:
        text = model._repr_html_()
        assert "data:image/png;base64," in text
        assert "mine" in text
        assert not re.search(r"<script|https?:|<link", text)

    def test_a_conditional_run_of_the_library_asks_for_class_numbers(self, tmp_path: Path) -> None:
        np.savez(tmp_path / "x.npz", images=own_networks.images(), labels=np.arange(60) % 3)
        config = lae_fast.TrainConfig(
            dataset=str(tmp_path / "x.npz"),
            conditional=True,
            hidden=8,
            epochs=1,
            device="cpu",
            run_root=str(tmp_path),
            name="c",
        )
        list(train(config))
        model = lae_fast.load(tmp_path / "c")
        assert model.encode(own_networks.images(2), [0, 2]).shape == (2, 8)
        for labels in (None, [0, 3]):
            with pytest.raises(ConfigError, match="class number"):
                model.encode(own_networks.images(2), labels)
        for labels in ([0], [0, 1, 2], [[0, 1]]):
            with pytest.raises(DataError, match="one label per image"):
                model.encode(own_networks.images(2), labels)

    def test_a_binarised_run_sees_binarised_images(self, tmp_path: Path) -> None:
        model, x = fit(tmp_path, epochs=1, binarize=True), own_networks.images(4)
        drawn = from_array(x).binarized().images
        assert torch.equal(model.encode(x), model.encode(drawn))
        assert not torch.equal(model.encode(x), model.encode(1 - x))

    def test_history_has_no_epoch_twice(self, root: Path, tmp_path: Path) -> None:
        shutil.copytree(root / "mine", tmp_path / "again")
        log = tmp_path / "again" / "events.jsonl"
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        started = next(line for line in lines if line["type"] == "run_started")
        first, second = [line for line in lines if line["type"] == "evaluated"]
        resumed = [started | {"iteration": first["iteration"]}, second | {"val_loss": 1.0}]
        with log.open("a") as file:
            file.writelines(json.dumps(line) + "\n" for line in resumed)
        history = lae_fast.load(tmp_path / "again").history
        assert [row["epoch"] for row in history] == [1, 2]
        assert history[-1]["val_loss"] == 1.0

    @pytest.mark.parametrize("broken", ["outside", "absolute", "torn", "huge", "shape", "text"])
    def test_shows_itself_beside_a_broken_snapshot(
        self, root: Path, tmp_path: Path, broken: str
    ) -> None:
        run = tmp_path / "copy"
        shutil.copytree(root / "mine", run)
        log = run / "events.jsonl"
        name = [row["snapshot"] for row in lae_fast.load(run).history if row["snapshot"]][-1]
        arrays = {"latents": np.zeros((4, 2), np.float32), "labels": np.zeros(4, np.int64)}
        if broken in ("outside", "absolute"):
            np.savez(tmp_path / "other.npz", **arrays)
            other = "../other.npz" if broken == "outside" else str(tmp_path / "other.npz")
            log.write_text(log.read_text().replace(name, other))
            assert snapshots.read(run, other, arrays) is None
        elif broken == "torn":
            content = bytearray((run / name).read_bytes())
            content[60:120] = bytes(60)
            (run / name).write_bytes(content)
        else:
            size = snapshots.LARGEST_ARRAY // 8 + 1
            arrays |= {
                "huge": {"latents": np.zeros((size, 1))},
                "shape": {"latents": np.zeros((4, 2, 2))},
                "text": {"labels": np.array(list("abcd"))},
            }[broken]
            np.savez_compressed(run / name, **arrays)
        if broken in ("torn", "huge"):
            assert snapshots.read(run, name, ["latents", "labels"]) is None
        assert "data:image/png;base64," in lae_fast.load(run)._repr_html_()


X = {"value": 0}


def called(operator: str, *args: Any) -> str:
    """A network that calls one operator."""
    return json.dumps([["input", "", [], {}], ["call", operator, list(args), {}]])


class TestRunFolder:
    def test_commands_know_the_run(self, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        where = ["mine", "--run-root", str(root), "--json"]
        for verb in ("sample", "reconstruct", "latents"):
            code, out, err = lae(capsys, verb, *where)
            assert code == 0, err
            assert json.loads(out)["run"] == "mine"

    def test_it_may_be_moved(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        fit(tmp_path / "here", epochs=1)
        (tmp_path / "here").rename(tmp_path / "there")
        run = str(tmp_path / "there" / "mine")
        for words in (["latents", run, "--json"], ["train", "--resume", run, "--epochs", "2"]):
            code, _, err = lae(capsys, *words)
            assert code == 0, err

    def test_without_its_networks_it_says_what_to_do(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        class ByValue(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.network = own_networks.decoder()

            def forward(self, z: Tensor) -> Tensor:
                if z.sum() > 1e9:
                    raise ValueError("never")
                return self.network(z)

        with pytest.warns(UserWarning, match="cannot keep a copy of your networks"):
            model = fit(tmp_path, decoder=ByValue(), epochs=1)
        code, _, err = lae(capsys, "sample", str(model.path))
        assert code == 2
        assert f"lae_fast.load('{model.path}', encoder=..., decoder=...)" in err
        given = {"encoder": own_networks.encoder(), "decoder": ByValue()}
        again = lae_fast.load(model.path, **given)
        assert torch.equal(again.sample(3), model.sample(3))
        with pytest.raises(ConfigError, match="both"):
            lae_fast.load(model.path, encoder=own_networks.encoder())

    def test_an_architecture_of_its_own_needs_python(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        words = ["train", "--architecture", "own", "--run-root", str(tmp_path)]
        code, _, err = lae(capsys, *words)
        assert (code, err) == (
            2,
            "lae: architecture own is for networks given to lae_fast.fit in Python\n",
        )

    @pytest.mark.parametrize(
        "steps",
        [
            "[",
            "[]",
            '[["call", "os.system", ["true"], {}]]',
            '[["input", "", [], {}], ["call", "aten.relu.default", [{"value": 7}], {}]]',
            '[["input", "", [], {}]]',
            called("aten.full.default", [99999999, 99999999], 0),
            called("aten.full.default", [10**10], 0),
            called("aten.full.default", [2**27], 0),
            called("aten._reshape_alias.default", X, [2, 16], [16, 1]),
            called("aten.as_strided.default", X, [2, 36], [2**40, 2**40]),
            called("aten.fill_.Scalar", X, 1.0),
            called("operator.mul", [0], 10**9),
            called("operator.getitem", X, 0),
            called("aten.mul.left_t", [0], 10**9),
            called("aten.upsample_nearest2d.default", X, [6, 6], 1e-30, 1e-30),
            called("aten.expand.default", X, [2**30, 2, 2]),
        ],
    )
    def test_hostile_networks_are_refused(self, root: Path, tmp_path: Path, steps: str) -> None:
        run = tmp_path / "copy"
        shutil.copytree(root / "mine", run)
        tensors, about = checkpoint.read(run, "networks")
        checkpoint.write(run, "networks", tensors, about | {"decoder": steps})
        with pytest.raises(CheckpointError, match="networks of"):
            lae_fast.load(run)

    @pytest.mark.parametrize("shape", [(1, 1 << 20, 1 << 20), (1, -6, 6), (1, 0, 6)])
    def test_impossible_shapes_are_refused(self, root: Path, shape: tuple[int, int, int]) -> None:
        with pytest.raises(CheckpointError, match="there are no images"):
            own.load(root / "mine", shape, LATENTS)

    def test_networks_that_are_too_long_are_not_kept(self, tmp_path: Path) -> None:
        class Long(nn.Linear):
            def forward(self, z: Tensor) -> Tensor:
                for _ in range(60):
                    z = z + 1
                return super().forward(z)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(checkpoint, "LARGEST_DESCRIPTION", 4096)
            with pytest.raises(UntraceableError, match="too many operators"):
                own.save(
                    tmp_path, own.Networks(own_networks.encoder(), Long(2, 36)), (1, 6, 6), LATENTS
                )


def test_networks_are_tried_without_the_callers_random_numbers(tmp_path: Path) -> None:
    networks = own.Networks(own_networks.encoder(), own_networks.decoder())
    before = torch.get_rng_state()
    own.feature_dim(networks, (1, 6, 6), LATENTS, has_phi=True)
    own.save(tmp_path, networks, (1, 6, 6), LATENTS)
    assert torch.equal(before, torch.get_rng_state())


def test_settings_of_the_run_say_what_was_trained(model: lae_fast.TrainedModel) -> None:
    config = dataclasses.asdict(model.config)
    assert (config["architecture"], config["hidden"]) == ("own", 6)
