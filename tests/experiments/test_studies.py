"""The studies' framework, their parts with known answers, and the short ones as a whole."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from helpers.command_line import ROOT
from helpers.command_line import run as run_cli
from lae_fast import runs
from lae_fast.config import ConfigError
from lae_fast.experiments import STUDIES, find_study, lab, page
from lae_fast.experiments.lab import Lab, NotTrainedError
from lae_fast.experiments.outcome import (
    Cell,
    Outcome,
    ResultTable,
    Stat,
    cell_text,
    filled,
    load,
    make_row,
    save,
    stat,
)
from lae_fast.experiments.studies import exactness, square, uniform
from lae_fast.experiments.studies.models import further_models, report_models
from lae_fast.experiments.studies.targets import (
    Target,
    conjugate,
    exact_draws,
    neural,
    total_variation,
)
from lae_fast.runs.events import Evaluated
from lae_fast.train import StopRequest, train

Capsys = pytest.CaptureFixture[str]


@pytest.fixture
def small_lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    monkeypatch.setitem(lab.QUICK, "epochs", 1)
    monkeypatch.setitem(lab.QUICK, "hidden", 16)
    return Lab(True, tmp_path / "runs", "data", tmp_path / "out")


class TestOutcome:
    def test_statistics_over_seeds(self) -> None:
        assert stat([1.0, 2.0, 3.0]) == Stat(2.0, 1.0, 3)
        assert stat([4.0]) == Stat(4.0, None, 1)

    def test_cells(self) -> None:
        cells = [None, "not run", 0.5, 3, Stat(0.5, None, 1), Stat(0.5, 0.25, 3)]
        texts = [cell_text(cell, ".2f") for cell in cells]
        assert texts == ["-", "not run", "0.50", "3.00", "0.50", "0.50 ± 0.25"]

    def test_a_row_has_its_figures_under_their_headings(self) -> None:
        heads = ["model", "loss, printed", "loss", "rate"]
        printed: dict[str, Cell] = {"loss, printed": 3.0}
        assert make_row(heads, "m", printed, {"rate": 2, "loss": 1}) == ["m", 3.0, 1, 2]
        assert make_row(heads, "m", printed, {"loss": 1}) == ["m", 3.0, 1, None]
        assert make_row(heads, "m", printed, {}) == ["m", 3.0, "not run", None]
        with pytest.raises(ValueError, match="no such columns: los"):
            make_row(heads, "m", printed, {"los": 1})

    def test_it_comes_back(self, tmp_path: Path) -> None:
        table = ResultTable(
            "t", {"a": "", "b": ".1f"}, [["x", Stat(1.0, None, 1)], ["y", None]], "note"
        )
        found = Outcome("probe", "T", "s", [table], {"p.png": "c"}, True, 1.5, False)
        assert load(tmp_path / "none.json") is None
        save(found, tmp_path / "o.json")
        assert load(tmp_path / "o.json") == found
        (tmp_path / "o.json").write_text((tmp_path / "o.json").read_text()[:50])
        assert load(tmp_path / "o.json") is None

    def test_figures_stay_when_their_run_folders_are_gone(self) -> None:
        def table(*rows: list[Cell]) -> ResultTable:
            return ResultTable("t", {"a": "", "published": ".1f", "ours": ".1f"}, list(rows))

        before = Outcome("probe", "", "", [table(["x", 9.0, 1.0], ["y", 8.0, 2.0])], {"p.png": "c"})
        rows: list[list[Cell]] = [["x", 9.0, 3.0], ["y", 8.0, "not run"], ["z", None, "not run"]]
        now = Outcome("probe", "", "", [table(*rows)], complete=False)
        found = filled(now, before)
        assert found.tables[0].rows == [["x", 9.0, 3.0], ["y", 8.0, 2.0], ["z", None, "not run"]]
        assert found.pictures == {"p.png": "c"}
        assert not found.complete
        without_z = replace(now, tables=[table(["x", 9.0, 3.0], ["y", 8.0, "not run"])])
        assert filled(without_z, before).complete
        assert not filled(replace(without_z, partial=["a model"]), before).complete
        half = replace(before, partial=["vae z=2 (epoch 4)", "vae z=3 (epoch 5)"])
        found = filled(replace(without_z, missing=["vae z=2"]), half)
        assert (found.partial, found.complete) == (["vae z=2 (epoch 4)"], False)

    def test_markdown(self) -> None:
        table = ResultTable("Title", {"a": "", "|b|": ".1f"}, [["x", 1.0]], "Note.")
        lines = page.markdown(Outcome("probe", "T", "s", [table], {"p.png": "c"}, quick=True))
        assert r"| a | \|b\| |" in lines
        assert "| --- | ---: |" in lines
        assert "| x | 1.0 |" in lines
        assert "![c](p.png)" in lines
        assert any("lae experiment probe --quick" in line for line in lines)

    def test_other_columns_do_not_fill_a_table(self) -> None:
        earlier = ResultTable("t", {"a": "", "b": "", "c": ".1f"}, [["x", 1.0, 2.0]])
        now = replace(
            earlier, columns={"a": "", "b": "", "d": ".1f"}, rows=[["x", "not run", None]]
        )
        found = filled(Outcome("n", "N", "s", [now]), Outcome("n", "N", "s", [earlier]))
        assert found.tables[0].rows == [["x", "not run", None]]
        again = replace(now, columns=earlier.columns)
        found = filled(Outcome("n", "N", "s", [again]), Outcome("n", "N", "s", [earlier]))
        assert found.tables[0].rows == earlier.rows

    def test_more_seeds_are_another_result(self, tmp_path: Path) -> None:
        asked = []

        def study(lab: Lab) -> Outcome:
            asked.append(lab.seed_count)
            return lab.outcome("uniform", "U", "s", [], {})

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(page, "find_study", lambda name: study)
            for seeds in (1, 1, 3, 2):
                make = partial(Lab, True, tmp_path, "data", tmp_path, seed_count=seeds)
                page.reproduce(make, ["uniform"])
        assert asked == [1, 3]


class TestLab:
    def test_a_finished_run_is_used_again(self, small_lab: Lab) -> None:
        first = small_lab.trained(model="vae", latent_dim=2)
        assert small_lab.trained(model="vae", latent_dim=2).path == first.path
        assert small_lab.trained(model="vae", latent_dim=3).path != first.path
        elsewhere = Lab(True, small_lab.run_root, "other", small_lab.out, train=False)
        assert elsewhere.trained(model="vae", latent_dim=2).path == first.path

    def test_an_unfinished_one_is_finished(self, small_lab: Lab) -> None:
        begun = self._begun(small_lab)
        assert runs.summarise(begun).status not in lab.DONE
        small_lab.train = False
        assert small_lab.trained(model="vae", latent_dim=2, epochs=3).path == begun
        assert "seed 0 (epoch" in small_lab.outcome("probe", "", "", [], {}).described
        small_lab.train = True
        found = small_lab.trained(model="vae", latent_dim=2, epochs=3)
        assert found.path == begun
        assert runs.summarise(begun).epochs == 3

    def test_one_that_cannot_be_finished_is_trained_anew(self, small_lab: Lab) -> None:
        begun, said = self._begun(small_lab), []
        for state in begun.glob("checkpoints/state*.safetensors"):
            state.write_bytes(b"no state")
        small_lab.say = said.append
        found = small_lab.trained(model="vae", latent_dim=2, epochs=3)
        assert found.path != begun
        assert any("cannot read the saved state" in line for line in said)
        assert begun.is_dir()

    @staticmethod
    def _begun(small_lab: Lab) -> Path:
        """A run stopped after its first epoch."""
        stop = StopRequest()
        for event in train(small_lab.config(model="vae", latent_dim=2, epochs=3), stop):
            if isinstance(event, Evaluated):
                stop.request()
        (begun,) = small_lab.run_root.iterdir()
        return begun

    def test_one_that_is_being_trained_is_not_trained_twice(
        self, small_lab: Lab, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        begun = self._begun(small_lab)
        running = replace(runs.summarise(begun), status="running")
        monkeypatch.setattr(runs, "summarise", lambda path, **_: running)
        small_lab.train = True
        with pytest.raises(NotTrainedError, match="being trained by another process"):
            small_lab.trained(model="vae", latent_dim=2, epochs=3)
        assert small_lab.missing == {"digits vae z=2 at 0.001 seed 0"}

    def test_nor_one_that_another_process_has_just_taken(self, small_lab: Lab) -> None:
        """Its log says that it has ended until the other has resumed it."""
        begun = self._begun(small_lab)
        with runs.RunWriter(begun), pytest.raises(NotTrainedError, match="another process"):
            small_lab.trained(model="vae", latent_dim=2, epochs=3)
        assert small_lab.missing == {"digits vae z=2 at 0.001 seed 0"}

    @pytest.mark.parametrize("quick", [True, False])
    def test_rows_of_the_tables_have_labels_of_their_own(self, quick: bool, tmp_path: Path) -> None:
        here = Lab(quick, tmp_path / "runs", "data", tmp_path, train=False)
        rows = report_models(here) | further_models(here)
        for settings in rows.values():
            with pytest.raises(NotTrainedError):
                here.trained(**settings)
        assert len(here.missing) == len(rows)

    def test_models_are_told_apart(self, small_lab: Lab) -> None:
        small_lab.train = False
        forms: list[dict[str, Any]] = [
            {},
            {"architecture": "conv"},
            {"conditional": True},
            {"depth": 1},
            {"prior": False},
        ]
        for form in forms:
            with pytest.raises(NotTrainedError):
                small_lab.trained(model="lae", latent_dim=2, **form)
        assert len(small_lab.missing) == len(forms)

    def test_missing_models_leave_rows_out(self, small_lab: Lab) -> None:
        small_lab.train = False
        with pytest.raises(NotTrainedError, match="digits vae z=2"):
            small_lab.trained(model="vae", latent_dim=2)
        found = find_study("reconstruction")(small_lab)
        assert not found.complete
        assert all(row[2] == "not run" for row in found.tables[0].rows)

    def test_seeds(self, small_lab: Lab) -> None:
        small_lab.seed_count = 2
        settings = {"model": "vae", "latent_dim": 2}
        found = small_lab.measure(settings, lambda run: {"seed": float(run.config.seed)})
        assert found == {"seed": stat([0.0, 1.0])}


def test_every_study_is_there() -> None:
    for name in STUDIES:
        assert callable(find_study(name))
    with pytest.raises(ConfigError, match="did you mean 'probe'"):
        find_study("prob")


RECORDED = ROOT / "docs" / "results"


@pytest.mark.skipif(not RECORDED.is_dir(), reason="the docs are not here")
@pytest.mark.parametrize("name", STUDIES)
def test_recorded_results_are_in_the_words_of_their_study(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All but the figures and pictures: titles, captions, settings, headings, rows and notes."""

    def untrained(latents: int, *_: float, **__: Any) -> square.SquareVAE:
        return square.SquareVAE(latents).requires_grad_(False)

    def zeros(target: Target, draws: int, _: int) -> exactness.Draws:
        return exactness.Draws(torch.zeros(10, len(target.x), 2), None, 10.0, 1.0)

    digits = Lab(True, tmp_path / "runs", "data", tmp_path)
    monkeypatch.setattr(Lab, "splits", digits.splits)
    monkeypatch.setattr(Lab, "held_out", digits.held_out)
    monkeypatch.setattr(uniform, "train_square", untrained)
    monkeypatch.setattr(exactness, "SAMPLERS", dict.fromkeys(exactness.SAMPLERS, zeros))
    found = find_study(name)(Lab(False, tmp_path / "runs", "data", tmp_path, train=False))
    recorded = load(RECORDED / f"{name}.json")
    assert recorded is not None
    assert _words(found) == _words(recorded)
    assert found.pictures.items() <= recorded.pictures.items()


def _words(found: Outcome) -> list[Any]:
    measured = re.compile(r" Of held-out images it is [\d.]+%\.")
    tables = [(t.title, t.columns, measured.sub("", t.note)) for t in found.tables]
    rows = [[row[0] for row in table.rows] for table in found.tables]
    return [found.title, found.setting, tables, rows if found.name != "pictures" else None]


class TestTargets:
    def test_the_grid_has_the_conjugate_posterior(self) -> None:
        """Moments over the cells against the closed form."""
        target = conjugate(n=3)
        weight, bias = target.decoder.weight, target.decoder.bias
        cov = torch.linalg.inv(torch.eye(2) + weight.T @ weight / target.noise**2)
        mean = (target.x - bias) @ weight @ cov / target.noise**2
        masses = target.cell_masses()
        width = 10 / 25
        axis = -5 + width * (torch.arange(25, dtype=torch.float64) + 0.5)
        z = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), -1).view(-1, 2)
        torch.testing.assert_close(masses @ z, mean, atol=0.01, rtol=0)
        second = torch.einsum("nc,ci,cj->nij", masses, z, z) - mean[:, :, None] * mean[:, None]
        # Rounding to the middle of a cell adds width^2 / 12 (Sheppard).
        expected = cov + width**2 / 12 * torch.eye(2)
        torch.testing.assert_close(second, expected.expand(3, 2, 2), atol=0.01, rtol=0)

    def test_total_variation(self) -> None:
        masses = neural(n=2).cell_masses()
        assert masses.sum(1).tolist() == pytest.approx([1, 1])
        draws = torch.full((10, 2, 2), 4.9, dtype=torch.float64)
        assert total_variation(draws, masses) == pytest.approx(1, abs=0.01)
        assert masses.shape == (2, 625)
        assert exact_draws(masses, 100_000, 0) < exact_draws(masses, 100, 0) / 5


@pytest.mark.slow
def test_exact_samplers_are_exact_and_others_are_not() -> None:
    """Metropolis-Hastings comes near the floor; leaving it out, or a Gaussian, does not."""
    target = neural()
    masses = target.cell_masses()
    distance = {}
    for name, sampler in exactness.SAMPLERS.items():
        found = sampler(target, 2000, 0)
        distance[name] = total_variation(found.values, masses)
    assert distance["Langevin per point"] < 0.12
    assert distance["ALD"] < 0.15
    assert distance["Langevin per point without MH"] > 2 * distance["Langevin per point"]
    assert distance["amortised Gaussian"] > 1.5 * distance["Langevin per point"]


class TestSquare:
    def test_the_loss_is_the_written_out_one(self) -> None:
        model = square.SquareVAE(2)
        x = torch.rand(50, 2)
        mean, log_std = model.posterior(x)
        z = mean + log_std.exp() * torch.randn(50, 2, generator=torch.Generator().manual_seed(3))
        normal = torch.distributions.Normal(mean, log_std.exp())
        kl = torch.distributions.kl_divergence(normal, torch.distributions.Normal(0, 1))
        weights = [p for name, p in model.named_parameters() if name.endswith("weight")]
        count = sum(w.numel() for w in weights)
        penalty = sum(w.square().sum() for w in weights) / count
        expected = ((model.decode(z) - x) ** 2).sum(1).mean() + 0.3 * kl.sum(1).mean()
        found = square.loss(model, x, 0.3, 0.7, torch.Generator().manual_seed(3))
        torch.testing.assert_close(found, expected + 0.7 * penalty)

    def test_more_kl_is_more_normal_and_reconstructs_less(self) -> None:
        found = [
            uniform.statistics_of(square.train_square(2, beta, 0.0, iterations=800))
            for beta in (0.001, 0.1)
        ]
        assert found[1]["z"] < 0.5 * found[0]["z"]
        assert found[1]["mse"] > 5 * found[0]["mse"]

    def test_quadrants(self) -> None:
        x = torch.tensor([[0.1, 0.1], [0.9, 0.1], [0.1, 0.9], [0.9, 0.9]])
        assert uniform.quadrants(x).tolist() == [0, 1, 2, 3]


class TestCommands:
    @pytest.fixture
    def place(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        monkeypatch.setattr(uniform, "ITERATIONS", {True: 20, False: 20})
        return ["--out", str(tmp_path / "out"), "--run-root", str(tmp_path / "runs")]

    def test_experiment_and_reproduce_share_results(
        self, place: list[str], tmp_path: Path, capsys: Capsys
    ) -> None:
        code, out, err = run_cli(capsys, "experiment", "uniform", *place)
        assert code == 0
        assert "Gaussian" in out
        text = (tmp_path / "out" / "results.md").read_text()
        assert "results/uniform-latents-2.png" in text
        assert (tmp_path / "out" / "results" / "uniform-latents-2.png").stat().st_size > 1000
        code, out, err = run_cli(capsys, "reproduce", "--only", "uniform", *place, "--json")
        assert code == 0
        assert "found its result" in err
        values: dict[str, Any] = json.loads(out)
        assert values["studies"][0]["name"] == "uniform"

    def test_bad_name(self, place: list[str], capsys: Capsys) -> None:
        code, out, err = run_cli(capsys, "experiment", "unifrom", *place)
        assert (code, out) == (2, "")
        assert "did you mean 'uniform'" in err
        assert err.count("\n") == 1
