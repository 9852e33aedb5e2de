"""The engine speaks to any door: what to do about an error is said by the door, and the engine knows no flag."""

from __future__ import annotations

import ast
import pickle
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import typer

from rlm_graph import errors
from rlm_graph.cli.app import app
from rlm_graph.cli.hints import ON_COMMAND_LINE, advised
from rlm_graph.errors import (
    IN_PYTHON,
    Action,
    BudgetExceeded,
    Hint,
    ModelError,
    RLMError,
    RunHeldError,
    RunNotFoundError,
    SetupError,
    StorageError,
    UntrustedError,
)

ROOT = Path(__file__).resolve().parents[1]
ACTIONS = get_args(Action)


def command_line() -> tuple[set[str], set[str]]:
    """The flags of all commands, and the commands."""
    flags: set[str] = set()
    commands: set[str] = set()

    def collect(command: Any, path: str) -> None:
        flags.update(flag for option in command.params for flag in (*option.opts, *option.secondary_opts))
        for name, below in getattr(command, "commands", {}).items():
            commands.add(f"{path} {name}")
            collect(below, f"{path} {name}")

    collect(typer.main.get_command(app), "rlm-graph")
    return {flag for flag in flags if flag.startswith("--")} | {"--help"}, commands


FLAGS, COMMANDS = command_line()
OURS = re.compile(
    rf"(?<![\w-])(?:{'|'.join(map(re.escape, sorted(FLAGS, key=len, reverse=True)))})(?![\w-])"
    rf"|\b(?:{'|'.join(map(re.escape, sorted(COMMANDS, reverse=True)))})\b"
)
OTHERS = {("rlm_graph/executors/pyodide/image.py", "--quiet")}
"""Flags of ours that are those of another program too, and where that program is meant: Deno."""


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """The strings and docstrings of a file, each with its line; those of f-strings piece by piece."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value


def engine() -> Iterator[tuple[str, Path]]:
    """Every file outside the command line."""
    for folder in ("rlm_graph", "graphs", "nodes"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            name = path.relative_to(ROOT).as_posix()
            if not name.startswith(("rlm_graph/cli/", "rlm_graph/graphs/", "rlm_graph/nodes/")):
                yield name, path


def test_the_command_line_has_the_flags_and_commands_that_are_looked_for() -> None:
    assert {"--max-turns", "--no-memory", "--db", "--from"} <= FLAGS
    assert {"rlm-graph run", "rlm-graph docker build", "rlm-graph memory clear"} <= COMMANDS
    assert OURS.findall("give --db FILE, or --no-memory: `rlm-graph pyodide fetch`") == [
        "--db", "--no-memory", "rlm-graph pyodide fetch",
    ]  # fmt: skip
    assert OURS.findall("docker run --db-index; the rlm-graph runtime; pip install 'rlm-graph[docker]'") == []


def test_no_text_outside_the_command_line_names_a_flag_or_a_command_of_it() -> None:
    found = [
        f"{name}:{line}: {said}"
        for name, path in engine()
        for line, text in texts(path)
        for said in OURS.findall(text)
        if (name, said) not in OTHERS
    ]

    assert found == [], "raise with a Hint, and let the door say how: see rlm_graph/errors.py"


def test_what_is_excused_is_there_to_be_excused() -> None:
    found = {(name, said) for name, path in engine() for _, text in texts(path) for said in OURS.findall(text)}

    assert found >= OTHERS


@pytest.mark.parametrize("action", ACTIONS)
def test_each_door_has_words_for_every_action(action: Action) -> None:
    error = SetupError("it is so", hint=Hint(action, "max_turns"))

    in_python, on_command_line = str(error), advised(error)

    for said in (in_python, on_command_line):
        assert said.startswith("it is so; ")
        assert len(said) > len("it is so; ")
        assert not set("{}") & set(said)
    assert OURS.search(in_python) is None


def test_no_door_has_words_for_what_is_no_action() -> None:
    assert set(IN_PYTHON) == set(ON_COMMAND_LINE) == set(ACTIONS)


def test_every_action_is_advised_somewhere() -> None:
    advised = {
        node.args[0].value
        for folder in ("rlm_graph", "graphs", "nodes")
        for path in (ROOT / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Hint"
        if node.args and isinstance(node.args[0], ast.Constant)
    }

    assert advised <= set(ACTIONS)
    assert set(ACTIONS) == advised, "an action that nobody advises goes, with its words"


def test_what_the_flags_and_commands_in_the_words_of_the_command_line_name_exists() -> None:
    said = "; ".join(ON_COMMAND_LINE.values())
    named = {command.strip() for command in re.findall(r"rlm-graph(?: [a-z]+)+", said)}

    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", said)) <= FLAGS
    assert named
    assert {command for command in named if not OURS.match(command)} == set()


def test_what_the_words_of_python_name_exists() -> None:
    from rlm_graph import Budget
    from rlm_graph.executors.docker.image import build
    from rlm_graph.executors.pyodide.runtime import fetch
    from rlm_graph.memory import Notes
    from rlm_graph.settings import LocalSettings, PyodideSettings, Settings
    from rlm_graph.storage.runs import Runs
    from rlm_graph.tools.registry import tool_statuses

    assert all(map(callable, (build, fetch, Notes.forget, Runs.page, tool_statuses)))
    assert {"db", "encrypt", "model"} <= set(Settings.model_fields)
    assert "allow_unpriced" in Budget.model_fields
    assert "unsafe" in set(LocalSettings.model_fields) & set(PyodideSettings.model_fields)


RAISED = [
    StorageError("the database", hint=[Hint("name_database"), Hint("upgrade")]),
    RunNotFoundError("no run", hint=Hint("list_runs")),
    RunHeldError("a run", "process 1"),
    BudgetExceeded("max_turns", spent=3, limit=2),
    UntrustedError({Path("/x/rlm.toml"): "0"}, ["db = 1", "tracing = true"]),
    ModelError("no answer", retryable=True, retry_after_s=2.5, hint=Hint("resume", "a run")),
]


@pytest.mark.parametrize("error", RAISED, ids=lambda error: type(error).__name__)
def test_an_error_comes_out_of_a_pickle_with_its_facts_and_its_hints(error: RLMError) -> None:
    error.about("agent coder")

    again = pickle.loads(pickle.dumps(error))

    assert type(again) is type(error)
    assert (again.hints, again.problem, str(again)) == (error.hints, error.problem, str(error))
    assert vars(again) == vars(error)


def test_every_error_can_be_pickled() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, RLMError)]
    special = {type(error) for error in RAISED}

    for kind in kinds:
        if kind not in special:
            again = pickle.loads(pickle.dumps(kind("it is so", hint=Hint("upgrade"))))
            assert (type(again), again.hints, again.problem) == (kind, (Hint("upgrade"),), "it is so")
