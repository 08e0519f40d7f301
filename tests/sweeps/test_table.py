"""The table of a sweep: which rows are ranked among each other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lae_cli.shared.sweep_results import draw_table
from lae_fast import runs
from lae_fast.config import TrainConfig
from lae_fast.sweeps.folder import Point, PointState
from lae_fast.sweeps.table import rows


def state(loss: float, **settings: Any) -> PointState:
    name = "-".join(map(str, settings.values()))
    summary = runs.Summary(name=name, path=Path(name), status="finished", best_val_loss=loss)
    return PointState(Point(name, TrainConfig(**settings)), "finished", summary)


def test_losses_that_do_not_compare_are_not_ranked(capsys: pytest.CaptureFixture[str]) -> None:
    from rich.console import Console

    states = [
        state(30.0, model="lae", latent_dim=8),
        state(10.0, model="frozen", latent_dim=8),
        state(20.0, model="vae", latent_dim=8),
        state(9.0, model="frozen", latent_dim=2),
    ]
    names = ["model", "latent_dim"]
    found = [(row.values["model"], row.values["latent_dim"]) for row in rows(states, names)]
    assert found == [("vae", 8), ("lae", 8), ("frozen", 2), ("frozen", 8)]
    drawn, note = draw_table(states, names)
    Console(width=120).print(drawn)
    out = capsys.readouterr().out
    assert out.count("-ELBO") == 2
    assert out.count("potential") == 2
    assert "only among rows" in str(note)
    (alone,) = draw_table(states[::2], names)
    Console(width=120).print(alone)
    assert capsys.readouterr().out.count("-ELBO") == 1
