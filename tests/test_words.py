"""How we write, as far as a machine sees it: "per" and not "a"; sources by author and year."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from helpers.command_line import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
CODE = sorted(
    file
    for folder in ("lae_fast", "cli", "csrc", "benchmarks", "tests", "docs/scripts")
    for suffix in ("*.py", "*.h", "*.cpp", "*.cu", "*.cuh")
    for file in (ROOT / folder).rglob(suffix)
    if file != Path(__file__)  # it says what the others must not say
)
SOURCES = ROOT / "docs" / "sources.md"
pytestmark = pytest.mark.skipif(not SOURCES.is_file(), reason="the docs are not here")

THING = (
    r"an? (?:image|batch|step|second|minute|dimension|class|core|run|epoch|iteration|chain|rank|"
    r"row|point|line|pixel|file|column|seed|device|layer|process|figure|character|evaluation|machine|"
    r"side|folder|event|tick|request)\b(?! (?:is|that|was|has|of|would))"
)
QUANTITY = (
    r"(?:nats?|bits?|bytes|images?|steps?|ms|seconds?|epochs?|iterations?|samples?|draws?|messages?|"
    r"launches|calls?|rows?|labels?|chains?|decisions?|evaluations?|points?|units?|errors?|events?|"
    r"one|two|three|twice|[0-9]+)"
)
KIND = (
    r"(?:model|verb|study|trainer|tab|object|value|worker|thread|decision|covariance|product|column|"
    r"panel|algorithm|operator|command|table|chart|folder|test|task|job|uniform|graph|label|latent|"
    r"line)s?"
)
GAP = r"[\s\"'#/*]+"
"""Between two words: a space, or the end of a line of prose, of a comment or of a string."""


def words(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern.replace(" ", GAP), re.IGNORECASE)


A_FOR_PER = words(rf"\b(?:{QUANTITY}|{KIND}) {THING}")
UNCITED = words(
    r"\bseed documents?\b|(?<!\")\bas (?:it was )?published\b|\bthe published \w+|\bthe papers?\b|"
    r"\bthe report's\b|\bof the report\b|\bthe report (?:does|prints|names|says|has)\b|"
    r"\bthe study's\b|\bthe study (?:does|says|prints|saw)\b|\b(?:VAE|uniform-to-Gaussian) study\b"
)
CITED = re.compile(r"\b(\w+(?: et al\.| and [A-Z]\w+)?),? \(?((?:19|20)\d\d)\b(?![-:/])")
NOT_AUTHORS = {"NeurIPS", "NIPS", "ICML", "ICLR", "SC"}


def found_in(files: list[Path], *patterns: re.Pattern[str]) -> list[str]:
    """Where files say what they should not: file, line, words."""
    hits = []
    for file in files:
        text = file.read_text(encoding="utf-8")
        for pattern in patterns:
            for hit in pattern.finditer(text):
                line = text.count("\n", 0, hit.start()) + 1
                hits.append(f"{file.relative_to(ROOT)}:{line}: {hit[0]}")
    return hits


def test_the_patterns_find_what_they_are_for() -> None:
    for text in ("nats an image", "3 messages a step", "a study a file", "one a core"):
        assert A_FOR_PER.search(text), text
    for text in (
        "labels a folder",
        "One line\n    an event",
        "# three panels\n# a row",
        '"nats "\n "a step"',
    ):
        assert A_FOR_PER.search(text), text
    for text in ("once an image is seen", "nats per image", "a chain per image"):
        assert not A_FOR_PER.search(text), text
    for text in ("the published LAE", "tables of the report", "As published"):
        assert UNCITED.search(text), text


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_docs_say_per_and_cite(page: Path) -> None:
    assert not found_in([page], A_FOR_PER, UNCITED)


def test_code_says_per_and_cites() -> None:
    assert not found_in(CODE, A_FOR_PER, UNCITED)


def test_every_citation_has_its_reference() -> None:
    headings = re.findall(r"^### (.+)$", SOURCES.read_text(encoding="utf-8"), re.MULTILINE)
    missing = []
    for file in [*PAGES, *CODE]:
        text = file.read_text(encoding="utf-8")
        for name, year in CITED.findall(text) if file != SOURCES else []:
            known = any(heading.endswith(f"{name} {year}") for heading in headings)
            if name[0].isupper() and name not in NOT_AUTHORS and not known:
                missing.append(f"{file.relative_to(ROOT)}: {name} {year}")
    assert not missing
