"""Tables on terminals of any width."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from lae_cli.terminal.console import show
from lae_cli.terminal.tables import FittingTable

CELLS = [("digits-lae-20261125-135212", "stopped-early", "24.31 ± 0.12 (3)", "97.5 % ± 0.1 % (3)")]


def drawn(width: int, cells: list[tuple[str, ...]] = CELLS) -> str:
    table = FittingTable("title", left=("status",), dispensable=("status",))
    for heading in ("run", "status", "loss", "accuracy"):
        table.add_column(heading)
    for row in cells:
        table.add_row(*row)
    console = Console(width=width, file=io.StringIO(), markup=False)
    console.print(table)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_wide_terminal_gets_the_whole_table() -> None:
    head = next(line for line in drawn(100).splitlines() if "run" in line)
    assert head.split() == ["run", "status", "loss", "accuracy"]


def test_a_narrower_one_gets_fewer_columns() -> None:
    text = drawn(76)
    assert "status" not in text
    assert "97.5 % ± 0.1 % (3)" in text


@given(st.integers(40, 120))
def test_no_cell_is_cut(width: int) -> None:
    text = drawn(width)
    assert all(len(line.rstrip()) <= width for line in text.splitlines())
    for cell in (CELLS[0][0], *CELLS[0][2:]):
        assert cell in text
    assert "…" not in text


def test_paragraphs_are_broken_between_words(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from lae_cli.terminal.console import plain

    monkeypatch.setattr(
        "lae_cli.terminal.console.make_console",
        lambda: Console(width=30, force_terminal=True, markup=False, no_color=True),
    )
    words = ["Latents", "of", "held-out", "images", "are", "classified", "by", "linear", "probes"]
    show(plain(" ".join(words)))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 1
    assert [word for line in lines for word in line.split()] == words
