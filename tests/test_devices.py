"""Where things are computed: the option of every verb, and the same results on every device.

The emulated device refuses to mix with the CPU as a GPU does, so that a tensor in the wrong place
is an error here.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from helpers import small_runs
from helpers.command_line import run as run_cli
from lae_cli import exits
from lae_fast.analysis import attack, classify, evaluate, explore, saved
from lae_fast.analysis.infer import infer
from lae_fast.analysis.saved import SavedRun, held_out_images, open_run
from lae_fast.config import ConfigError, TrainConfig
from lae_fast.experiments import find_study, lab
from lae_fast.experiments.lab import Lab
from lae_fast.experiments.outcome import Outcome
from lae_fast.experiments.studies import exactness, targets, uniform
from lae_fast.experiments.studies.models import report_models
from lae_fast.experiments.studies.square import train_square
from lae_fast.models import Model
from lae_fast.ops import devices
from lae_fast.train.watching.validate import validate

Capsys = pytest.CaptureFixture[str]
Patch = pytest.MonkeyPatch

MODELS: dict[str, dict[str, Any]] = {
    "lae": {"steps": 2},
    "vae": {
        "model": "vae",
        "conditional": True,
        "architecture": "conv",
        "likelihood": "gaussian",
        "binarize": True,
    },
}
CLASSIFIER = ["-N", "1", "--epochs", "1", "--per-class", "5"]
FEW = ["--images", "20", "--samples", "10", "--ais", "3"]
VERBS = {
    "sample": ["-n", "3", "--law", "data"],
    "reconstruct": ["--noise", "0.2", "--images", "50"],
    "interpolate": ["class:1", "point:0,0"],
    "traverse": ["--dim", "1", "--around", "image:3"],
    "latents": ["--images", "50"],
    "posterior": ["--images", "2", "--draws", "4", "--warmup", "2"],
    "probe": ["--epochs", "1"],
    "classify": CLASSIFIER,
    "attack": [*CLASSIFIER, "--images", "20", "--epsilon", "0.1", "--converged"],
    "anomaly": ["--images", "20", "--score", "mse", "--score", "elbo", "--score", "likelihood"],
    "eval": FEW,
    "diagnose": FEW,
}
WITH_ARRAYS = ("sample", "reconstruct", "interpolate", "traverse", "latents", "posterior")
WITH_LABEL = ("sample", "interpolate", "traverse")
FEW_STEPS = {
    "refined_importance_sampling": {"refine_steps": 5},
    "annealed_importance_sampling": {"temperatures": 5},
    "bidirectional_bounds": {"temperatures": 5},
    "sample_per_image": {"draws": 8, "warmup": 8},
}
"""Rounding makes chains part in time; these are too short for that."""
STUDIES = {"experiment": ["uniform"], "reproduce": ["--only", "uniform"]}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("runs")
    for name, settings in MODELS.items():
        small_runs.trained(root, name=name, latent_dim=2, epochs=1, **settings)
    return root


def alike(found: Any, expected: Any) -> None:
    """See that numbers, and tensors on the same device, are equal but for rounding."""
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=5e-3)


class ReachedError(Exception):
    """What was to be reached was, with this device."""


class TestOption:
    @pytest.mark.parametrize("verb", [*VERBS, *STUDIES])
    def test_a_gpu_that_is_not_there_is_one_line(
        self, verb: str, root: Path, tmp_path: Path, monkeypatch: Patch, capsys: Capsys
    ) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        words = [verb, "lae", *VERBS[verb]] if verb in VERBS else [verb, *STUDIES[verb]]
        words += ["--run-root", str(root)]
        words += ["--out", str(tmp_path)] if verb in STUDIES else []
        code, out, err = run_cli(capsys, *words, "--device", "cuda")
        train_code, _, train_err = run_cli(
            capsys, "train", "--run-root", str(tmp_path), "--device", "cuda", "--quiet"
        )
        assert (code, out, err) == (exits.BAD_INPUT, "", train_err)
        assert train_code == code
        assert "no CUDA device is available" in err

    def test_it_is_the_trainings(self, root: Path, monkeypatch: Patch, capsys: Capsys) -> None:
        """The same words are refused, and the same variable is read."""
        refused = [
            run_cli(capsys, *verb, "--device", "tpu") for verb in (["train"], ["latents", "lae"])
        ]
        assert refused[0] == refused[1]
        assert refused[0][0] == exits.BAD_INPUT
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        monkeypatch.setenv("LAE_DEVICE", "cuda")
        code, _, err = run_cli(capsys, "latents", "lae", "--run-root", str(root))
        assert (code, err.count("\n")) == (exits.BAD_INPUT, 1)

    def test_auto_prefers_the_gpu(self, monkeypatch: Patch) -> None:
        """And only a GPU is asked whether the kernels fit it."""
        asked: list[int] = []
        monkeypatch.setattr(devices, "prepare_gpu", asked.append)
        monkeypatch.setattr(torch.cuda, "current_device", lambda: 3)
        for there, kind in ((True, "cuda"), (False, "cpu")):
            monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
            assert devices.pick_device("auto").type == kind
        with pytest.raises(ConfigError, match="no CUDA device"):
            devices.pick_device("cuda")
        assert asked == [3]

    def test_opening_a_run_asks_whether_the_kernels_fit(
        self, root: Path, monkeypatch: Patch
    ) -> None:
        """From Python, too, where no command has picked the device."""
        asked: list[int] = []
        monkeypatch.setattr(devices, "prepare_gpu", asked.append)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.nn.Module, "to", lambda self, device: self)
        saved.open_run(root / "lae", device="cuda:1")
        saved.open_run(root / "lae")
        assert asked == [1]

    def test_it_reaches_the_study(self, tmp_path: Path, monkeypatch: Patch, capsys: Capsys) -> None:
        asked = []

        def study(here: Lab) -> Outcome:
            asked.append(here.device)
            return here.outcome("uniform", "", "", [], {})

        monkeypatch.setattr(devices, "pick_device", lambda name: f"{name}, picked")
        monkeypatch.setattr("lae_fast.experiments.page.find_study", lambda name: study)
        code, _, _ = run_cli(
            capsys, "experiment", "uniform", "--device", "cuda", "--out", str(tmp_path)
        )
        assert (code, asked) == (exits.OK, ["cuda, picked"])

    def test_a_study_trains_where_it_measures(self, tmp_path: Path, monkeypatch: Patch) -> None:
        def train(config: TrainConfig, **_: Any) -> None:
            raise ReachedError(config.device)

        monkeypatch.setattr("lae_fast.train.train", train)
        here = Lab(True, tmp_path, "data", tmp_path, device=torch.device("cuda"))
        with pytest.raises(ReachedError, match="cuda"):
            here.trained(model="vae")

    @pytest.mark.parametrize(
        ("study", "place"),
        [
            ("uniform", "uniform.train_square"),
            ("likelihood", "likelihood.evaluate_run"),
            ("exactness", "targets.Target.to"),
        ],
    )
    def test_a_study_computes_where_it_was_told(
        self, study: str, place: str, tmp_path: Path, monkeypatch: Patch
    ) -> None:
        def reach(*args: Any, **options: Any) -> None:
            raise ReachedError(options.get("device", args[-1]))

        monkeypatch.setattr(f"lae_fast.experiments.studies.{place}", reach)
        run = SimpleNamespace(path=tmp_path)
        monkeypatch.setattr(Lab, "find", lambda self, **settings: run)
        here = Lab(True, tmp_path, "data", tmp_path, device="there")
        with pytest.raises(ReachedError, match="there"):
            find_study(study)(here)


class TestSameResults:
    @pytest.mark.parametrize("verb", VERBS)
    @pytest.mark.parametrize("model", MODELS)
    def test_of_verbs(
        self,
        model: str,
        verb: str,
        root: Path,
        tmp_path: Path,
        emulated: str,
        monkeypatch: Patch,
        capsys: Capsys,
    ) -> None:
        for name, few in FEW_STEPS.items():
            monkeypatch.setattr(evaluate, name, _with_options(getattr(evaluate, name), few))
        monkeypatch.setattr(attack, "CONVERGED", attack.Attack(3, None, True, 2))
        opened: list[Model] = []
        monkeypatch.setattr(saved, "SavedRun", _noting(saved.SavedRun, opened))
        results, files = [], []
        for device in ("cpu", emulated):
            monkeypatch.setattr(devices, "pick_device", lambda _, device=device: device)
            # A folder each, or one would find the classifier that the other trained.
            shutil.copytree(root / model, tmp_path / device / model)
            words = [verb, model, *VERBS[verb], "--run-root", str(tmp_path / device), "--json"]
            words += ["--label", "3"] if verb in WITH_LABEL and model == "vae" else []
            file = tmp_path / device / "out.npz"
            words += ["--out", str(file)] if verb in WITH_ARRAYS else []
            words += ["--out", str(file.with_suffix(".png"))] if verb == "attack" else []
            code, out, err = run_cli(capsys, *words)
            assert code in (exits.OK, exits.FAILED), err
            assert device in {devices.device_of(model).type for model in opened}
            results.append(_numbers(json.loads(out)))
            files.append(_arrays(file) if verb in WITH_ARRAYS else {})
        alike(*results[::-1])
        alike(*files[::-1])

    def test_of_chains_on_phi(self, root: Path, emulated: str) -> None:
        found = []
        for device in ("cpu", emulated):
            run = open_run(root / "lae", device=device)
            some = held_out_images(run.config).subset(torch.arange(3))
            result = infer(run, some, method="phi", draws=4, warmup=2, chains=2)
            found.append([result.chains.latents, result.mean, result.spread.double() / 255])
        alike(*found[::-1])

    def test_of_classifiers_that_were_kept(self, root: Path, tmp_path: Path, emulated: str) -> None:
        """Training and finding again give a classifier where the model is, with the same weights.

        Its dropout draws the same masks on every device.
        """
        shutil.copytree(root / "lae", tmp_path / "lae")
        recipe = classify.Recipe(1, epochs=1, per_class=5)
        there = [
            classify.obtain(open_run(tmp_path / "lae", device=emulated), recipe)[0]
            for _ in range(2)
        ]
        here, _ = classify.obtain(open_run(root / "lae"), recipe)
        for model in there:
            assert devices.device_of(model).type == emulated
            alike(model.cpu().state_dict(), here.state_dict())

    def test_of_a_conditional_model_that_was_given_no_label(
        self, root: Path, emulated: str
    ) -> None:
        found = [explore.sample(open_run(root / "vae", device=d), 3) for d in ("cpu", emulated)]
        alike(*(pixels.double() / 255 for pixels in found[::-1]))

    def test_of_validation(self, root: Path, emulated: str) -> None:
        found = []
        for device in ("cpu", emulated):
            run = open_run(root / "vae", device=device)
            found.append(dataclasses.asdict(validate(run.model, held_out_images(run.config))))
        alike(*found[::-1])

    def test_of_the_square(self, emulated: str) -> None:
        found = []
        for device in ("cpu", emulated):
            model = train_square(2, 0.01, 0.05, iterations=5, device=device)
            (forward, _), (back, _) = uniform.scatters(model)
            found.append([uniform.statistics_of(model), [*map(torch.tensor, (forward, back))]])
        alike(*found[::-1])

    @pytest.mark.parametrize("sampler", exactness.SAMPLERS)
    def test_of_samplers(self, sampler: str, emulated: str, monkeypatch: Patch) -> None:
        monkeypatch.setattr(exactness, "BATCHES", 5)
        found = []
        for device in ("cpu", emulated):
            target = targets.neural(n=3).to(device)
            figures = exactness.figures_of(target, exactness.SAMPLERS[sampler], 20, 0)
            del figures["ESS"], figures["ESS per second"]
            found.append(figures)
        alike(*found[::-1])

    @pytest.mark.slow
    def test_of_a_study(self, tmp_path: Path, emulated: str, monkeypatch: Patch) -> None:
        monkeypatch.setitem(lab.QUICK, "epochs", 1)
        monkeypatch.setitem(lab.QUICK, "hidden", 16)
        found = []
        for device in ("cpu", emulated):
            here = Lab(True, tmp_path / "runs", "data", tmp_path, device=device)
            here.train = device == "cpu"  # what is measured on both is one and the same model
            outcome = find_study("pictures")(here)
            assert outcome.complete
            run = here.trained(**report_models(here)["VAE z=2"])
            assert devices.device_of(run.model).type == device
            found.append([_numbers(table.rows) for table in outcome.tables])
        alike(*found[::-1])


def _with_options(function: Callable[..., Any], fixed: dict[str, int]) -> Callable[..., Any]:
    return lambda *args, **options: function(*args, **options | fixed)


def _noting(make: Callable[..., SavedRun], opened: list[Model]) -> Callable[..., SavedRun]:
    """``make``, which also puts the run's model into a list."""

    def noting(*fields: Any) -> SavedRun:
        run = make(*fields)
        opened.append(run.model)
        return run

    return noting


def _numbers(value: Any) -> Any:
    """``value`` without text and without what a clock measured."""
    if isinstance(value, dict):
        return {
            key: _numbers(item)
            for key, item in value.items()
            if not isinstance(item, str) and "second" not in key
        }
    if isinstance(value, list):
        return [_numbers(item) for item in value if not isinstance(item, str)]
    return value


def _arrays(file: Path) -> dict[str, torch.Tensor]:
    """Its arrays; pictures as pixels of [0, 1], so that rounding is a small difference."""
    with np.load(file) as arrays:
        found = {name: torch.from_numpy(arrays[name]) for name in arrays}
    return {name: a.double() / 255 if a.dtype == torch.uint8 else a for name, a in found.items()}
