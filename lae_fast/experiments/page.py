"""Runs studies that have no result yet, and writes ``results.md`` from all there are."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from lae_fast.experiments import STUDIES, find_study, outcome
from lae_fast.experiments.findings import findings
from lae_fast.experiments.lab import Lab
from lae_fast.experiments.outcome import Outcome, ResultTable

PAGE = "results.md"
CITED = re.compile(
    r"(?:Bisht|Idler|De León Martínez|Taniguchi et al\.|Hoffman|Burda et al\.|Neal) (?:19|20)\d\d"
)
"""Sources that studies cite, by author and year."""
HEAD = [
    "# What did the experiments find?",
    "",
    "Every experiment of Bisht 2023, Idler 2022 and De León Martínez 2024, run again, and what",
    "they leave open. Their figures stand beside ours in the same units: nats per image, squared",
    "error per pixel of [0, 1], shares. A spread is the standard deviation over seeds (few labels:",
    "over draws of them); a figure without one is of a single seed.",
    "",
    "As in Bisht 2023, the test set also chose the epoch whose weights are measured, for every",
    'generative model alike. So "held-out" images are not untouched ones here. Classifiers and',
    "probes are those of their last epoch. `lae reproduce` writes this page; what it says about",
    "figures is computed from them.",
    "",
]


def result_path(out: Path, name: str) -> Path:
    """Where the outcome of a study is kept."""
    return out / "results" / f"{name}.json"


def reproduce(
    make_lab: Callable[[], Lab], names: Sequence[str], *, force: bool = False
) -> list[Outcome]:
    """Run the named studies and write the page; those with a complete result are not run again.

    A figure whose model is missing now stays as it was measured before.

    Args:
        make_lab: a fresh lab for each study.
        names: of `lae_fast.experiments.STUDIES`.
        force: run them whatever there is, and keep nothing of it.
    """
    found: list[Outcome] = []
    pace = _Pace(len(names))
    for count, name in enumerate(names, 1):
        lab = make_lab()
        known = None if force else outcome.load(result_path(lab.out, name))
        if known is not None and known.quick != lab.quick:
            known = None
        if known is not None and known.complete and known.seeds >= lab.seed_count:
            lab.say(f"{pace.words(count)}{name}: found its result")
            found.append(known)
            continue
        lab.say(f"{pace.words(count)}{name}: {STUDIES[name]}")
        with pace.measured():
            result = find_study(name)(lab)
        if known is not None:
            result = outcome.filled(result, known)
        found.append(result)
        outcome.save(result, result_path(lab.out, name))
        write_page(lab.out)
    write_page(make_lab().out)
    return found


class _Pace:
    """Which study of how many begins, and how long the rest takes at the pace so far."""

    def __init__(self, total: int) -> None:
        self.total, self.run, self.seconds = total, 0, 0.0

    @contextlib.contextmanager
    def measured(self) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.run, self.seconds = self.run + 1, self.seconds + time.monotonic() - began

    def words(self, count: int) -> str:
        if self.total == 1:
            return ""
        left = self.seconds / self.run * (self.total - count + 1) if self.run else 0.0
        about = f", about {_duration(left)} left" if left else ""
        return f"study {count} of {self.total}{about}: "


def write_page(out: Path) -> Path:
    """Write ``results.md`` from every outcome under ``out/results``.

    Where ``sources.md`` lies beside the page, as in ``docs``, sources that are cited link to it.
    """
    known = [outcome.load(result_path(out, name)) for name in STUDIES]
    parts = [HEAD, *(markdown(found) for found in known if found is not None)]
    if (out / "sources.md").is_file():
        parts = [_linked(part) for part in parts]
    page = out / PAGE
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text("\n".join(line for part in parts for line in part) + "\n", encoding="utf-8")
    return page


def _linked(part: list[str]) -> list[str]:
    """The part with a link at the first mention of each source in its text."""
    seen: set[str] = set()

    def link(cited: re.Match[str]) -> str:
        anchor = cited[0].lower().replace(" ", "-").replace(".", "")
        text = cited[0] if anchor in seen else f"[{cited[0]}](sources.md#{anchor})"
        seen.add(anchor)
        return text

    return [line if line.startswith(("|", "!", "#")) else CITED.sub(link, line) for line in part]


def markdown(found: Outcome) -> list[str]:
    """A section of the page."""
    form = "--quick" if found.quick else "--full"
    lines = [f"## {found.title}", "", found.described, ""]
    lines += [
        f"`lae experiment {found.name} {form}`: {_duration(found.seconds)} and the trainings.",
        "",
    ]
    for table, said in zip(found.tables, findings(found), strict=True):
        lines += [f"**{table.title}**", "", *_table(table), ""]
        for part in (table.note, said):
            lines += [part, ""] if part else []
    for file, caption in found.pictures.items():
        lines += [f"![{caption}]({file})", "", f"*{caption}*", ""]
    return lines


def _table(table: ResultTable) -> list[str]:
    head, *rows = outcome.texts(table)
    rule = ["---", *["---:"] * (len(head) - 1)]
    lines = [[cell.replace("|", r"\|") for cell in cells] for cells in (head, rule, *rows)]
    return [f"| {' | '.join(cells)} |" for cells in lines]


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
