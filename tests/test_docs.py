"""The docs: commands and options exist, code blocks run, links lead somewhere, figures hold.

A fence of ``sh`` or ``python`` is run, unless the line before it says ``<!-- not run: why -->``.
"""

from __future__ import annotations

import ast
import contextlib
import json
import os
import pkgutil
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import pytest
from _pytest.mark.structures import ParameterSet

from helpers.command_line import ROOT, SOURCES, VERBS
from lae_cli.main import lae, main

DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])
PROSE = [page for page in PAGES if page.name != "results.md"]
"""Pages that are written by hand."""
NAMES = {page: str(page.relative_to(ROOT)) for page in PAGES}
pytestmark = pytest.mark.skipif(not DOCS.is_dir(), reason="the docs are not here")

FENCE = re.compile(
    r"(?:^<!-- not run: (?P<why>[^\n]+) -->\n)?^```(?P<kind>\w*)\n(?P<text>.*?)^```$", re.M | re.S
)
INLINE = re.compile(r"`([^`\n]+)`")


@dataclass(frozen=True)
class Block:
    """A fence: its language, its text, and whether it is to be run."""

    kind: str
    text: str
    runs: bool


def blocks(page: Path) -> list[Block]:
    found = FENCE.finditer(page.read_text(encoding="utf-8"))
    return [Block(m["kind"], m["text"], m["why"] is None) for m in found]


def without_code(text: str) -> str:
    """A page's text; fences and inline code are left out."""
    return INLINE.sub("", FENCE.sub("", text))


COMMANDS = {" ".join(words): command for words, command in VERBS.items()}


# Commands and options


def logical_lines(text: str) -> Iterator[str]:
    """Lines of a shell block: continued ones joined, comments and here-documents left out."""
    lines = iter(text.replace("\\\n", " ").splitlines())
    for line in lines:
        yield line
        if end := re.search(r"<<(\w+)", line):
            while next(lines) != end[1]:
                pass


def typed(page: Path) -> Iterator[list[str]]:
    """The words after ``lae`` wherever a page says what to type, in blocks or in a line."""
    for block in blocks(page):
        if block.kind == "sh":
            for line in logical_lines(block.text):
                words = shlex.split(line, comments=True)
                while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
                    words = words[1:]
                if words[:1] == ["lae"]:
                    cut = [i for i, word in enumerate(words) if word in ("|", "||", ">", "&&")]
                    yield words[1 : cut[0] if cut else None]
    for text in INLINE.findall(FENCE.sub("", page.read_text(encoding="utf-8"))):
        if text.startswith("lae "):
            yield re.split(r" [|>] ", text)[0].split()[1:]


def resolve(words: list[str]) -> tuple[click.Command, list[str]]:
    """The command that the words call, and its arguments."""
    command: click.Command = lae
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        found = command.get_command(click.Context(command), words[0])
        assert found is not None, f"there is no command '{words[0]}'"
        command, words = found, words[1:]
    return command, words


@pytest.mark.parametrize("page", PROSE, ids=NAMES.get)
def test_what_a_page_tells_to_type_exists(page: Path) -> None:
    for words in typed(page):
        if words[:1] == ["COMMAND"]:
            continue
        command, rest = resolve(words)
        if not isinstance(command, click.Group):
            context = click.Context(command, info_name=" ".join(words))
            with contextlib.suppress(click.BadOptionUsage):  # `lae train --nproc` names an option
                command.make_parser(context).parse_args([*rest])  # refuses options there are not


def test_every_command_is_in_the_docs() -> None:
    text = "\n".join(page.read_text(encoding="utf-8") for page in PROSE)
    missing = [name for name in COMMANDS if f"lae {name}" not in text]
    assert not missing


OTHERS = {
    "--nproc-per-node",
    "--max-restarts",
    "--no-build-isolation",
    "--dry-run",
    "--seconds",
} | {"--logdir"}
"""Options of other programs."""


@pytest.mark.parametrize("page", PAGES, ids=NAMES.get)
def test_options_in_the_docs_exist(page: Path) -> None:
    known = {"--help", "--version"} | OTHERS
    for command in COMMANDS.values():
        known |= {word for param in command.params for word in (*param.opts, *param.secondary_opts)}
    text = page.read_text(encoding="utf-8")
    code = [*INLINE.findall(text), *(block.text for block in blocks(page))]
    named = {word for part in code for word in re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", part)}
    assert not named - known


# Code blocks


def test_every_block_says_what_it_is() -> None:
    for page in PAGES:
        for block in blocks(page):
            assert block.kind in ("sh", "python", "text", "toml", "json"), f"{NAMES[page]}: {block}"


def runnable(page: Path) -> list[Block]:
    return [block for block in blocks(page) if block.runs and block.kind in ("sh", "python")]


def as_case(page: Path) -> ParameterSet:
    """A page that trains is slow."""
    trains = any(
        re.search(r"^lae train|train\(|fit\(", b.text, re.MULTILINE) for b in runnable(page)
    )
    return pytest.param(page, id=NAMES[page], marks=[pytest.mark.slow] if trains else [])


@pytest.mark.parametrize("page", [as_case(page) for page in PAGES if runnable(page)])
def test_blocks_run(
    page: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """In the order of the page, in one folder; every training is cut short at once."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LAE_MAX_TIME", "0.2")
    monkeypatch.setenv("PATH", f"{shim(tmp_path)}{os.pathsep}{os.environ['PATH']}")
    for block in runnable(page):
        if block.kind == "python":
            exec(compile(block.text, NAMES[page], "exec"), {"__name__": "page"})
        else:
            run_shell(block.text)
    capfd.readouterr()


def shim(folder: Path) -> Path:
    """A folder with ``lae`` in it, for what only a shell can do."""
    binaries = folder / ".bin"
    binaries.mkdir()
    command = binaries / "lae"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m lae_cli "$@"\n')
    command.chmod(0o755)
    return binaries


def run_shell(text: str) -> None:
    """Plain calls of ``lae`` in this process, which spares them importing torch; others in sh."""
    lines = iter(text.replace("\\\n", " ").splitlines())
    for line in lines:
        words = shlex.split(line, comments=True)
        if end := re.search(r"<<(\w+)", line):
            while not line.endswith(f"\n{end[1]}"):
                line += "\n" + next(lines)
        if words[:1] == ["lae"] and not {"|", ">"} & set(words):
            may_fail = "||" in words
            call = words[1 : words.index("||")] if may_fail else words[1:]
            with pytest.raises(SystemExit) as stopped:
                main([*call, "--max-time", "0.2"] if call[0] == "train" else call)
            assert may_fail or not stopped.value.code, line
        elif words:
            environ = os.environ | SOURCES
            subprocess.run(["sh", "-ec", line], check=True, env=environ, timeout=120)


# Links


def slug(heading: str) -> str:
    """The anchor of a heading, as GitHub makes it."""
    text = re.sub(r"[^\w\- ]", "", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower())
    return text.strip().replace(" ", "-")


def anchors(page: Path) -> set[str]:
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    found = {slug(heading) for heading in re.findall(r"^#+ (.+)$", text, re.M)}
    if "<!-- commands -->" in text:
        found |= {slug(f"lae {name}") for name in COMMANDS}
    return found


@pytest.mark.parametrize("page", PAGES, ids=NAMES.get)
def test_links_and_pictures_are_there(page: Path) -> None:
    text = without_code(page.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"https?://", target):
            continue
        path, _, anchor = target.partition("#")
        file = page.parent / path if path else page
        assert file.exists(), target
        if anchor:
            assert anchor in anchors(file), target


@pytest.mark.skipif(not (ROOT / "csrc").is_dir(), reason="the sources are not here")
@pytest.mark.parametrize("page", PROSE, ids=NAMES.get)
def test_files_of_the_repository_are_there(page: Path) -> None:
    for text in INLINE.findall(FENCE.sub("", page.read_text(encoding="utf-8"))):
        if re.fullmatch(r"(tests|lae_fast|cli|csrc|benchmarks|docs)/[\w./-]+", text) and (
            "NAME" not in text
        ):
            assert (ROOT / text).exists(), text


@pytest.mark.parametrize("page", PROSE, ids=NAMES.get)
def test_names_of_the_library_are_there(page: Path) -> None:
    for text in INLINE.findall(FENCE.sub("", page.read_text(encoding="utf-8"))):
        if re.fullmatch(r"lae_fast(\.\w+)+", text) and not text.startswith("lae_fast._C"):
            pkgutil.resolve_name(text)


def arguments(node: ast.AST) -> set[str]:
    """What a function takes, or a class: the fields of a dataclass, or what ``__init__`` takes."""
    if isinstance(node, ast.ClassDef):
        fields = {
            n.target.id
            for n in node.body
            if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)
        }
        made = [n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"]
        return fields.union(*map(arguments, made))
    assert isinstance(node, ast.FunctionDef)
    taken = node.args
    found = [*taken.posonlyargs, *taken.args, *taken.kwonlyargs, taken.vararg, taken.kwarg]
    return {argument.arg for argument in found if argument}


def test_docstrings_describe_arguments_that_there_are() -> None:
    entry = re.compile(r"^ {4}(\*{0,2}\w+(?:, \*{0,2}\w+)*):", re.MULTILINE)
    wrong = []
    for file in [*(ROOT / "lae_fast").rglob("*.py"), *(ROOT / "cli").rglob("*.py")]:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                text = ast.get_docstring(node) or ""
                section = re.search(r"^Args:\n((?: +.*\n?|\n)+)", text, re.MULTILINE)
                names = ", ".join(entry.findall(section[1])).replace("*", "") if section else ""
                wrong += [
                    f"{file}: {node.name}: {name}"
                    for name in names.split(", ")
                    if name and name not in arguments(node)
                ]
    assert not wrong


# Figures


def scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(DOCS / "scripts"))


def between(page: str, name: str) -> str:
    return page.split(f"<!-- {name} -->\n")[1].split(f"<!-- end of {name} -->\n")[0]


def test_figures_are_those_of_the_measurements(monkeypatch: pytest.MonkeyPatch) -> None:
    scripts(monkeypatch)
    import figures
    import performance_tables

    for page, name, lines in figures.SECTIONS:
        text = page.read_text(encoding="utf-8")
        assert between(text, name).split("\n") == ["", *lines(), ""]
    measured = json.loads((performance_tables.RESULTS / "epyc-2-cores.json").read_text())
    page = (DOCS / "performance.md").read_text(encoding="utf-8")
    shown = page.split(performance_tables.BEGIN)[1].split(performance_tables.END)[0]
    assert shown == "\n" + "\n".join(performance_tables.tables(measured["groups"]))


def test_the_page_of_results_is_that_of_its_files(tmp_path: Path) -> None:
    from lae_fast.experiments.page import write_page

    (tmp_path / "results").symlink_to(DOCS / "results")
    (tmp_path / "sources.md").touch()
    page = write_page(tmp_path).read_text(encoding="utf-8")
    assert page == (DOCS / "results.md").read_text(encoding="utf-8")
