"""Sentences on a study's figures follow from them, and from nothing else."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from helpers.command_line import ROOT
from lae_fast.experiments import STUDIES, page
from lae_fast.experiments.findings import DEFAULT_LAE, FINDINGS, findings
from lae_fast.experiments.outcome import NOT_RUN, Cell, Outcome, ResultTable, Stat, load

RECORDED = ROOT / "docs" / "results"
SAID = sorted(FINDINGS)


def outcome(name: str, *tables: tuple[list[str], list[list[Cell]]]) -> Outcome:
    made = [
        ResultTable(f"table {k}", dict.fromkeys(columns, ".2f") | {columns[0]: ""}, rows)
        for k, (columns, rows) in enumerate(tables)
    ]
    return Outcome(name, "T", "s", made)


def contrary(found: Outcome, first: float) -> Outcome:
    """The rows' figures in reverse order; ours, but not those printed, on a scale per table."""

    def scaled(cell: Cell, scale: float) -> Cell:
        return replace(cell, mean=cell.mean * scale) if isinstance(cell, Stat) else cell

    tables = []
    for k, table in enumerate(found.tables):
        pairs = zip(table.rows, table.rows[::-1], strict=True)
        rows = [[row[0], *(scaled(c, first - 0.1 * k) for c in other[1:])] for row, other in pairs]
        tables.append(replace(table, rows=rows))
    return replace(found, tables=tables)


def not_run(found: Outcome) -> Outcome:
    def rows(table: ResultTable) -> list[list[Cell]]:
        return [[row[0], NOT_RUN, *[None] * (len(row) - 2)] for row in table.rows]

    return replace(found, tables=[replace(table, rows=rows(table)) for table in found.tables])


@pytest.mark.skipif(not RECORDED.is_dir(), reason="the docs are not here")
@pytest.mark.parametrize("name", [name for name in SAID if name != "uniform"])
def test_contrary_figures_change_every_sentence(name: str) -> None:
    found = load(RECORDED / f"{name}.json")
    assert found is not None
    said = findings(found)
    assert any(said)
    others = [findings(contrary(found, first)) for first in (1.1, 0.6, 2.6)]
    for place, paragraph in enumerate(said):
        sentences = re.split(r"(?<=[.;]) ", paragraph)
        kept = [each for each in sentences if each and all(each in o[place] for o in others)]
        assert not kept


@pytest.mark.skipif(not RECORDED.is_dir(), reason="the docs are not here")
@pytest.mark.parametrize("name", STUDIES)
def test_what_was_not_run_is_not_spoken_of(name: str) -> None:
    found = load(RECORDED / f"{name}.json")
    assert found is not None
    if name == "uniform":  # whose rows are always run
        return
    assert findings(not_run(found)) == [""] * len(found.tables)


def square(back: float, spread: float) -> str:
    columns = ["latents", "beta", "lambda", "MSE", "KS of points from N(0, I)"]
    rows: list[list[Cell]] = [
        [latents, beta, penalty, Stat(0.01, spread, 3), back if beta == 0.1 else 0.2]
        for latents in (2, 1)
        for beta in (0.001, 0.1)
        for penalty in (0.0, 0.25)
    ]
    return findings(outcome("uniform", (columns, rows)))[0]


def test_the_square() -> None:
    far, near = square(0.3, 0.001), square(0.1, 0.02)
    assert far.count("further from the uniform at beta 0.1 (KS 0.300) than at 0.001 (0.200)") == 2
    assert "breaks down" not in far
    assert near.count("nearer to the uniform") == 2
    assert "its error has a standard deviation above its mean: 2 latents, beta 0.001" in near


def test_without_the_accept_step() -> None:
    """Said as it is, also where leaving it out does no harm."""
    columns = ["sampler", "total variation", "of exact draws"]
    rows: list[list[Cell]] = [["ALD", 0.04, 0.08], ["ALD without MH", 0.02, 0.08]]
    (said,) = findings(outcome("exactness", (columns, rows)))
    assert "with Metropolis-Hastings (MH): ALD 0.50." in said
    assert said.endswith("over that with MH: ALD 0.5.")


@pytest.mark.parametrize(
    ("gain", "said"),
    [
        (0.5, ": 0.50 ± 0.10 nats below it after 20 epochs"),
        (-0.5, ": 0.50 ± 0.10 nats above it"),
        (-0.1, ": level with it (0.10 ± 0.10 nats above it) after 20 epochs"),
        (Stat(0.5, 0.3, 4), ": 0.50 ± 0.18 nats below it"),
    ],
)
def test_the_default_against_the_vae(gain: Cell, said: str) -> None:
    values = ["model", "after 20 epochs", "over the VAE's"]
    gains = ["model", "after 20 epochs, by", "s.e. after 20 epochs"]
    none: tuple[list[str], list[list[Cell]]] = (["model"], [[DEFAULT_LAE]])
    found = outcome(
        "versus",
        (values, [[DEFAULT_LAE, 96.0, 1.4]]),
        (gains, [[DEFAULT_LAE, gain, 0.1]]),
        none,
        none,
    )
    text = findings(found)[0]
    assert said in text
    assert "takes 1.40 times as long" in text


def test_the_order_of_langevin_steps() -> None:
    heads = ["accuracy, Bisht 2023", "accuracy", "accuracy, 20 epochs, scaled"]
    names = ["LAE z=2", "LAE z=2, T=10", "LAE z=2, T=50", "LAE z=2, MH"]
    rows: list[list[Cell]] = [
        [name, 0.1 * k, 0.9 - 0.1 * k, (0.3, 0.5, 0.4, 0.6)[k]] for k, name in enumerate(names)
    ]
    (said,) = findings(outcome("probe", (["model", *heads], rows)))
    assert "Bisht 2023 rises at each step; ours falls at each step under" in said
    assert said.endswith("has no direction in the last column.")


def test_they_stand_on_the_page_under_their_table(tmp_path: Path) -> None:
    columns = ["model", "recognised"]
    rows: list[list[Cell]] = [["VAE", 0.9], ["LAE", 0.8]]
    found = outcome("vae", (["input"], []), (["score"], []), (columns, rows))
    lines = page.markdown(found)
    at = lines.index("Recognised most often is VAE; LAE 10.0 points less.")
    assert lines[at - 2] == "| LAE | 0.80 |"
