"""What a command loads: no SDK, framework or parser that it does not need."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from typer.main import get_command

from rlm_graph.cli.app import app
from rlm_graph.testing import ScriptedServer
from tests.cli.conftest import Shell, code
from tests.faults.processes import children_of, wait_until

Serve = Callable[..., ScriptedServer]

HEAVY = {"aiohttp", "aiosqlite", "anthropic", "asyncio", "bs4", "charset_normalizer", "docker", "e2b", "httpx"}
HEAVY |= {"httpx2", "jsonschema", "langchain", "langchain_core", "langchain_litellm", "langgraph", "langsmith"}
HEAVY |= {"litellm", "lxml", "markdown_it", "markdownify", "mcp", "numpy", "openai", "pandas", "psycopg", "pydantic"}
HEAVY |= {"pydantic_settings", "pygments", "requests", "rich", "tiktoken", "tokenizers", "tomlkit", "typer"}
"""Packages whose import takes ten milliseconds or more, or brings such. What is not here is not looked at."""

COMMAND = frozenset({"typer"})
SETTINGS = COMMAND | {"asyncio", "pydantic", "pydantic_settings"}
"""What reading the settings takes."""
RUNS = SETTINGS | {"aiosqlite"}
"""What reading the database of runs takes."""
TOOLS = SETTINGS | {"charset_normalizer", "httpx2", "langchain_core", "langsmith", "requests"}
"""What LangChain's tools take, which import all of these themselves."""
VALUES = RUNS | TOOLS | {"httpx", "langgraph"}
"""What LangGraph takes, which reads checkpoints and keeps notes."""

LOADED = {
    (): COMMAND,
    ("--help",): COMMAND,
    ("--version",): COMMAND,
    ("run", "--help"): COMMAND | {"pydantic"},
    ("run", "q"): VALUES | {"aiohttp", "markdown_it"},
    ("agent", "q"): VALUES | {"aiohttp", "markdown_it"},
    ("resume", "mine"): VALUES,
    ("ask", "nothing", "q"): RUNS,
    ("fork", "nothing"): RUNS,
    ("logs",): RUNS | {"rich"},
    ("logs", "--json"): RUNS,
    ("logs", "mine"): VALUES | {"rich"},
    ("logs", "nothing"): RUNS,
    ("rm", "nothing"): RUNS,
    ("rm", "mine", "--yes"): VALUES,
    ("du",): RUNS,
    ("ps",): RUNS,
    ("ps", "--sandboxes"): RUNS | {"docker", "requests", "charset_normalizer"},
    ("sweep",): RUNS | {"docker", "requests", "charset_normalizer"},
    ("tools",): TOOLS,
    ("trust",): SETTINGS,
    ("init",): SETTINGS | {"tomlkit"},
    ("doctor",): RUNS,
    ("config", "show"): SETTINGS,
    ("memory", "list"): VALUES | {"numpy"},
    ("memory", "show", "x"): VALUES | {"numpy"},
    ("memory", "rm", "x"): VALUES | {"numpy"},
    ("memory", "clear", "--yes"): VALUES | {"numpy"},
    ("docker", "build"): SETTINGS | {"docker", "requests", "charset_normalizer"},
    ("pyodide", "fetch", "--help"): COMMAND | {"pydantic"},
}
"""By the command's words, what of that it may load. Less is better: whoever takes something off takes it off here."""

PROBE = """
import atexit, json, sys

def tell():
    print("LOADED", json.dumps(sorted({name.partition(".")[0] for name, module in sys.modules.items() if module})),
          file=sys.stderr, flush=True)

atexit.register(tell)
sys.argv = ["rlm-graph", *sys.argv[1:]]
from rlm_graph.cli import main
main()
"""


@pytest.mark.parametrize("words", LOADED, ids=" ".join)
def test_a_command_loads_nothing_heavy_that_it_does_not_need(
    words: tuple[str, ...], shell: Shell, serve: Serve
) -> None:
    serve(code("FINAL('yes')"))
    if "mine" in words:
        shell.here("run", "q", "--thread", "mine")

    loaded = heavy_modules(shell, words)

    assert loaded - LOADED[words] == set()


def test_what_repls_are_forked_from_is_started_before_the_model_is_asked(shell: Shell, serve: Serve) -> None:
    server = serve(code("FINAL('yes')"))

    with server.holding(1) as hold, subprocess.Popen(
        shell.command("run", "q"), stdin=subprocess.DEVNULL, cwd=shell.folder, env=shell.environment()
    ) as process:  # fmt: skip
        hold.wait(100)
        wait_until(lambda: len(children_of(process.pid)) == 1)
        hold.release()
        assert process.wait(100) == 0


def test_every_command_stands_in_the_list() -> None:
    commands = set(_commands(get_command(app)))

    assert {name for name in commands if not any(words[: len(name)] == name for words in LOADED)} == set()


def heavy_modules(shell: Shell, words: tuple[str, ...]) -> set[str]:
    """Run the command in a process of its own, and return what of `HEAVY` it had loaded at its end."""
    environment = {name: value for name, value in shell.environment().items() if not name.startswith("COV")}
    done = subprocess.run(
        [sys.executable, "-c", PROBE, *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        cwd=shell.folder,
        env=environment,
        timeout=100,
    )
    [told] = [line for line in done.stderr.splitlines() if line.startswith(b"LOADED ")]
    return HEAVY & set(json.loads(told.removeprefix(b"LOADED ")))


def _commands(group: Any, above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _commands(command, (*above, name))
        else:
            yield (*above, name)
