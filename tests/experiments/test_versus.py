"""The study that compares models after equal epochs and equal time, on trainings of a second."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest
import torch

from lae_fast import runs
from lae_fast.experiments import lab
from lae_fast.experiments.lab import Lab, NotTrainedError
from lae_fast.experiments.outcome import NOT_RUN, Outcome, Stat
from lae_fast.experiments.studies import versus

SIZES = versus.Sizes((1, 2), (1, 2), (0.001, 1000.0), 30, 20)
LONG = {versus.VAE: versus.Contender({"model": "vae"}, 2), "LAE": versus.Contender({}, 2)}
SHORT = {"IWAE": versus.Contender({"model": "iwae", "samples": 2}, 1)}


@pytest.fixture
def small_lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    monkeypatch.setitem(lab.QUICK, "hidden", 16)
    monkeypatch.setitem(lab.QUICK, "batch_size", 512)
    monkeypatch.setattr(versus, "SMALL", SIZES)
    monkeypatch.setattr(versus, "CONTENDERS", LONG | SHORT)
    monkeypatch.setattr(versus, "SHORT", 1)
    monkeypatch.setattr(versus, "ROUNDS", 2)
    return Lab(True, tmp_path / "runs", "data", tmp_path / "out", seed_count=2)


def cells(found: Outcome, table: int, row: str) -> dict[str, object]:
    """Heading -> cell of a row."""
    head = found.tables[table]
    return dict(zip(head.columns, next(r for r in head.rows if r[0] == row), strict=True))


def test_it_trains_measures_and_compares(small_lab: Lab) -> None:
    found = versus.run(small_lab)
    assert found.complete
    assert set(found.pictures) == {"results/versus-epochs.png", "results/versus-seconds.png"}
    vae, lae = cells(found, 0, versus.VAE), cells(found, 0, "LAE")
    gain = cells(found, 1, "LAE")
    for epochs in (1, 2):
        ours, theirs = lae[f"after {epochs} epochs"], vae[f"after {epochs} epochs"]
        under = gain[f"after {epochs} epochs, by"]
        assert isinstance(ours, Stat)
        assert isinstance(theirs, Stat)
        assert isinstance(under, Stat)
        assert under.mean == pytest.approx(theirs.mean - ours.mean, abs=1e-3)
        assert under.n == 2
    assert cells(found, 0, "IWAE")["after 2 epochs"] is None
    assert vae["over the VAE's"] == 1
    assert {row[0] for row in found.tables[2].rows} == set(LONG)
    assert not any(NOT_RUN in row for table in found.tables for row in table.rows)


def test_what_was_measured_is_not_measured_again(small_lab: Lab) -> None:
    first = versus.run(small_lab)
    before = {path: path.stat().st_mtime_ns for path in small_lab.run_root.glob("*/events.jsonl")}
    again = Lab(True, small_lab.run_root, "data", small_lab.out, train=False, seed_count=2)
    second = versus.run(again)
    assert {p: p.stat().st_mtime_ns for p in small_lab.run_root.glob("*/events.jsonl")} == before
    assert len(before) == 6  # three models of two seeds, each one run whatever its epochs
    heading = "after 1 epochs"
    for name in (versus.VAE, "LAE", "IWAE"):
        assert cells(second, 0, name)[heading] == cells(first, 0, name)[heading]


def test_missing_models_leave_rows_out(small_lab: Lab) -> None:
    small_lab.train = False
    found = versus.run(small_lab)
    assert not found.complete
    assert all(row[1] == NOT_RUN for table in found.tables for row in table.rows)
    assert "digits iwae z=8 K=2 at 0.001 seed 1" in found.missing


def test_a_run_with_fewer_epochs_goes_on(small_lab: Lab) -> None:
    """One that has more is of no use: its weights are later ones."""
    config = versus._config(small_lab, {}, epochs=1)
    first = small_lab.trained_to(config)
    longer = small_lab.trained_to(dataclasses.replace(config, epochs=2))
    assert longer == first
    assert runs.summarise(first).epochs == 2
    assert small_lab.trained_to(dataclasses.replace(config, epochs=2)) == first
    assert small_lab.trained_to(config) != first
    small_lab.train = False
    with pytest.raises(NotTrainedError, match="has 3 epochs"):
        small_lab.trained_to(dataclasses.replace(config, epochs=3))


def test_between_measured_epochs_it_interpolates() -> None:
    curve = {1: torch.tensor([4.0, 8.0]), 4: torch.tensor([2.0, 2.0])}
    middle, end = versus.at(curve, 2.0), versus.at(curve, 4.0)
    assert middle is not None
    assert end is not None
    torch.testing.assert_close(middle, torch.tensor([3.0, 5.0]))
    torch.testing.assert_close(end, curve[4])
    assert versus.at(curve, 4.1) is None
    assert versus.at(curve, 0.5) is None
    assert versus.at(curve, math.nan) is None


def test_a_gain_is_paired() -> None:
    """Images differ by tens of nats, the models by one on each of them."""
    generator = torch.Generator().manual_seed(0)
    theirs = [50 * torch.rand(100, generator=generator).double() for _ in range(3)]
    ours = [values - 1 for values in theirs]
    by, error = versus.gain(theirs, ours)
    assert by == pytest.approx([1, 1, 1])
    assert error == pytest.approx(0, abs=1e-6)


def test_slower_models_cost_more(small_lab: Lab) -> None:
    configs = {
        f"T = {steps}": versus._config(small_lab, {"steps": steps, "hidden": 64})
        for steps in (1, 20)
    }
    costs = versus.seconds_per_epoch(configs, "cpu")
    assert costs["T = 20"] > 2 * costs["T = 1"] > 0
