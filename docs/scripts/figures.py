"""Write the figures of README.md and of docs/comparison.md from the measurements in the repository.

    python docs/scripts/figures.py

They stand between pairs of comment lines. Sources: benchmarks/results/epyc-2-cores.json (what
``lae bench --suite all --out FILE`` wrote) and docs/results/*.json (what ``lae reproduce`` wrote).
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from performance_tables import RESULTS, amount, between, grid

from lae_fast.experiments import outcome
from lae_fast.experiments.findings import DEFAULT_LAE, findings

ROOT = Path(__file__).parents[2]
STUDIES = ROOT / "docs" / "results"
ITERATIONS = {
    "iteration, batch 512, hidden 256, T=2, MH, cpu": "batch 512, 256 hidden units, T = 2",
    "iteration, batch 512, hidden 256, T=50, MH, cpu": "batch 512, 256 hidden units, T = 50",
    "iteration, batch 100, hidden 1024, T=2, MH, cpu": "batch 100, 1,024 hidden units, T = 2",
}
MODELS = {
    "Langevin from an encoder z=8": "Langevin chains from a VAE's encoder",
    "VAE z=8": "VAE",
    "LAE z=8, prior and MH": "LAE",
    "frozen phi z=8": "the same networks, phi frozen",
}


def speed() -> list[str]:
    """An iteration with one decision per image, the default."""
    groups = json.loads((RESULTS / "epyc-2-cores.json").read_text(encoding="utf-8"))["groups"]
    rows = []
    for group in groups:
        if group["group"] in ITERATIONS:
            found = {row["variant"]: row for row in group["rows"]}
            ours, naive = found["fused, one decision per image"], found["naive"]
            rows.append(
                [
                    ITERATIONS[group["group"]],
                    amount(ours["value"], "s"),
                    f"{naive['value'] / ours['value']:.1f}x",
                    f"{ours['over_floor']:.1f}x",
                ]
            )
    heads = ["iteration", "takes", "times faster than plain PyTorch", "over its matrix products"]
    return grid(heads, rows)


def versus(number: int) -> list[str]:
    """A table of `lae experiment versus`, the default first, without what was not run."""
    head, *rows = outcome.texts(_versus().tables[number])
    rows = [cells for cells in rows if outcome.NOT_RUN not in cells]
    rows.sort(key=lambda cells: cells[0] != DEFAULT_LAE)
    kept = [at for at in range(len(head)) if any(cells[at] != "-" for cells in rows)]
    lines = [[cells[at] for at in kept] for cells in (head, *rows)]
    return grid(lines[0], lines[1:])


def verdict() -> list[str]:
    """What `lae experiment versus` found of the default, in a sentence or more."""
    found = _versus()
    seeds = "One seed" if found.seeds == 1 else f"Mean of {found.seeds} seeds"
    return [*textwrap.wrap(f"{findings(found)[0]} {seeds}.", 110), ""]


def _versus() -> outcome.Outcome:
    found = outcome.load(STUDIES / "versus.json")
    if found is None:
        raise SystemExit("docs/results/versus.json cannot be read")
    return found


def row(study: str, table: int, name: str) -> dict[str, Any]:
    """Heading -> text of a row of a study's table."""
    found = outcome.load(STUDIES / f"{study}.json")
    if found is None:
        raise SystemExit(f"docs/results/{study}.json cannot be read")
    heads, *rows = outcome.texts(found.tables[table])
    return dict(zip(heads, next(cells for cells in rows if cells[0] == name), strict=True))


def likelihood() -> list[str]:
    """Models with 8 latents after early stopping, on equal terms."""
    rows = []
    for name, title in MODELS.items():
        found, trained = row("likelihood", 0, name), row("reconstruction", 0, name)
        nll = f"{found['-log p(x), IS']} ± {found['s.e.']}"
        rows.append([title, nll, found["acceptance rate"], trained["epochs"]])
    return grid(["model", "-log p(x), nats per image", "acceptance rate", "epochs"], rows)


README, COMPARISON = ROOT / "README.md", ROOT / "docs" / "comparison.md"
SECTIONS: tuple[tuple[Path, str, Callable[[], list[str]]], ...] = (
    (README, "speed", speed),
    (README, "equal epochs", partial(versus, 0)),
    (README, "verdict", verdict),
    (COMPARISON, "verdict", verdict),
    (COMPARISON, "equal epochs", partial(versus, 0)),
    (COMPARISON, "gain at equal epochs", partial(versus, 1)),
    (COMPARISON, "equal time", partial(versus, 2)),
    (COMPARISON, "gain at equal time", partial(versus, 3)),
    (COMPARISON, "likelihood", likelihood),
)
"""Page, name of the markers, and what stands between them."""


def main() -> None:
    """Rewrite what stands between the markers."""
    for page, name, lines in SECTIONS:
        marks = f"<!-- {name} -->\n", f"<!-- end of {name} -->\n"
        text = between(page.read_text(encoding="utf-8"), *marks, "\n".join([*lines(), ""]))
        page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
