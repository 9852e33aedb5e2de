"""What the documents name is there: files, modules, commands and flags, make targets, and the words of the glossary."""

from __future__ import annotations

import ast
import importlib
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer

from rlm_graph.channels import RLMState
from rlm_graph.cli.app import app

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")])
FOLDERS = ("rlm_graph", "graphs", "nodes", "tests", "docs", "configs", "examples", "bench")

every_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)


def spans(document: Path) -> list[str]:
    """Return what stands as code within the text of a document, each in one line."""
    prose = re.sub(r"^ *```.*?^ *```", "", document.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose)]


def shell_lines(document: Path) -> list[str]:
    """Return the lines of a document's shell examples."""
    blocks = re.findall(r"^ *```(?:sh|console)\n(.*?)^ *```", document.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    return [line.strip().removeprefix("$ ") for block in blocks for line in block.splitlines() if line.strip()]


@every_document
def test_every_file_that_is_named_exists(document: Path) -> None:
    words = [word for text in (*spans(document), *shell_lines(document)) for word in text.split()]
    paths = {word.rstrip(".,") for word in words if re.match(rf"({'|'.join(FOLDERS)})/", word)}

    there = {path for path in paths if any(ROOT.glob(re.sub("<[a-z]+>", "*", path)))}
    assert paths - there == set()


@every_document
def test_every_link_leads_to_a_file_and_a_heading(document: Path) -> None:
    for link in re.findall(r"\]\(([^)]+)\)", document.read_text("utf-8")):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = document.parent / name if name else document
        assert target.exists(), link
        if anchor:
            headings = re.findall(r"^#+ (.+)$", target.read_text("utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}, link


@every_document
def test_every_module_that_is_named_can_be_imported_and_has_what_is_named_in_it(document: Path) -> None:
    for name in {found for span in spans(document) for found in re.findall(r"\brlm_graph(?:\.\w+)+", span)}:
        parts = name.split(".")
        value: Any = importlib.import_module(parts[0])
        for length, part in enumerate(parts[1:], start=2):
            try:
                value = getattr(value, part)
            except AttributeError:
                value = importlib.import_module(".".join(parts[:length]))


@every_document
def test_every_make_target_that_is_named_exists(document: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {
        found for text in (*spans(document), *shell_lines(document)) for found in re.findall(r"^make ([a-z]+)", text)
    }

    assert named <= targets


@every_document
def test_every_command_and_flag_that_is_shown_exists(document: Path) -> None:
    shown = [*shell_lines(document), *spans(document)]

    for words in (words for text in shown for words in commands(text)):
        check_command(words)
    flags = {span.split()[0].partition("=")[0] for span in spans(document) if re.match(r"--?[a-z]", span)}
    assert flags <= {flag for command in all_commands(root()) for flag in flags_of(command)}


def test_the_check_of_commands_sees_what_is_not_there() -> None:
    [piped] = commands("journalctl | rlm-graph run 'q' -c - --modle x")

    assert piped == ["run", "q", "-c", "-", "--modle", "x"]
    with pytest.raises(AssertionError, match="--modle"):
        check_command(piped)
    with pytest.raises(AssertionError, match="memory frobnicate"):
        check_command(["memory", "frobnicate"])


def test_every_class_that_the_glossary_names_exists() -> None:
    named = {span for span in spans(ROOT / "docs/glossary.md") if re.fullmatch(r"[A-Z]\w*[a-z]\w*(\.\w+)?", span)}

    assert named
    assert named - defined() == set()


def test_every_old_name_that_the_glossary_keeps_is_a_channel() -> None:
    _, _, table = (ROOT / "docs/glossary.md").read_text("utf-8").partition("## Old names that stay")
    names = set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE))

    assert names
    assert names <= RLMState.__annotations__.keys()


def commands(text: str) -> Iterator[list[str]]:
    """Yield the calls of `rlm-graph` in a line of shell, as the words after it."""
    for part in re.split(r"\||&&|;", text):
        try:
            words = shlex.split(part, comments=True)
        except ValueError:  # prose, such as `rlm-graph's`
            continue
        while words and re.fullmatch(r"\w+=.*", words[0]):
            words = words[1:]
        if words and words[0].rpartition("/")[2] == "rlm-graph":
            yield words[1:]


def check_command(words: list[str]) -> None:
    """Follow the words down to a command, and look for each of their flags there."""
    command, path = root(), ["rlm-graph"]
    while words and hasattr(command, "commands") and not words[0].startswith("-"):
        path.append(words.pop(0))
        assert path[-1] in command.commands, f"there is no {' '.join(path)}"
        command = command.commands[path[-1]]
    for word in words:
        if re.match(r"--?[a-z]", word):
            assert word.partition("=")[0] in flags_of(command), f"{' '.join(path)} has no {word}"


@cache
def root() -> Any:
    return typer.main.get_command(app)


def all_commands(command: Any) -> Iterator[Any]:
    yield command
    for below in getattr(command, "commands", {}).values():
        yield from all_commands(below)


def flags_of(command: Any) -> set[str]:
    own = {flag for parameter in command.params for flag in (*parameter.opts, *parameter.secondary_opts)}
    return own | {"--help", "-h"}


@cache
def defined() -> frozenset[str]:
    """Return the classes and values that our modules define, and `Class.member` for what classes have."""
    names: set[str] = set()
    for folder in ("rlm_graph", "graphs", "nodes"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.parse(path.read_text("utf-8")).body:
                names |= _bound(node)
                if isinstance(node, ast.ClassDef):
                    names |= {f"{node.name}.{name}" for member in node.body for name in _bound(member)}
    return frozenset(names)


def _bound(node: ast.stmt) -> set[str]:
    match node:
        case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
            return {name}
        case ast.AnnAssign(target=ast.Name(id=name)):
            return {name}
        case ast.Assign(targets=[ast.Name(id=name)]):
            return {name}
    return set()
