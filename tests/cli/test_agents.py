"""Specialists from the settings: `[agents.NAME]`."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rlm_graph.testing import ScriptedRequest, ScriptedServer
from tests.cli.conftest import MODEL, Shell, code

Serve = Callable[..., ScriptedServer]

TOOLS = """
[tools]
roots = ["."]
"""
CODER = f"""{TOOLS}
[agents.coder]
model = "openai/gpt-4o"
description = "writes code"
system_prompt = "You are the coder."
tools = ["file_read"]
executor = "local"
budget = {{ max_turns = 3 }}
"""


def is_the_coder(request: ScriptedRequest) -> bool:
    return "You are the coder." in request.text


def script(request: ScriptedRequest) -> str:
    """The root asks the coder, which asks a model."""
    number = [message["role"] for message in request.messages].count("assistant")
    if is_the_coder(request):
        return [code("y = llm_query('within')\nprint(y)"), code("FINAL(y + ' ' + context)")][number]
    if request.messages[0]["role"] == "system":
        return code("x = llm_query('before')\nFINAL([x, rlm_query('Do it.', context='c', agent='coder')])")
    return request.prompt.upper()


@pytest.mark.confinement
def test_a_specialist_of_the_settings_answers(shell: Shell, serve: Serve) -> None:
    server = serve(script=script)
    Path("rlm.toml").write_text(CODER)

    result = shell.here("run", "Go.")

    assert result.exit_code == 0, result.stderr
    assert result.stdout.split() == ["[", '"BEFORE",', '"WITHIN', 'c"', "]"]
    assert {request.model for request in server.requests if is_the_coder(request)} == {"gpt-4o"}
    [first, *_] = [request for request in server.requests if is_the_coder(request)]
    assert "file_read(" in first.text
    assert "- `coder`: writes code" in server.requests[0].text
    assert "file_read(" not in server.requests[0].text


@pytest.mark.confinement
def test_a_run_that_was_killed_while_a_specialist_worked_asks_nothing_twice(shell: Shell, serve: Serve) -> None:
    running: list[subprocess.Popen[bytes]] = []

    def killing(request: ScriptedRequest) -> str:
        second = [message["role"] for message in request.messages].count("assistant") == 1
        if is_the_coder(request) and second and running:
            os.kill(running.pop().pid, signal.SIGKILL)
        return script(request)

    server = serve(script=killing)
    Path("rlm.toml").write_text(CODER)
    running.append(subprocess.Popen(shell.command("run", "Go.", "--thread", "r1"), env=shell.environment()))
    process = running[0]
    assert process.wait(100) == -signal.SIGKILL
    Path("rlm.toml").write_text(TOOLS)  # a run has its specialists with it

    result = shell.here("resume", "r1")

    assert result.exit_code == 0, result.stderr
    assert result.stdout.split() == ["[", '"BEFORE",', '"WITHIN', 'c"', "]"]
    asked = [request.prompt for request in server.requests if request.messages[0]["role"] != "system"]
    assert asked == ["before", "within"]
    # The root's one turn, and the coder's two; only the reply that nobody lived to read was asked for again.
    assert len(server.requests) == 2 + 1 + 3


def test_a_human_is_shown_which_specialist_a_call_asks(shell: Shell, serve: Serve) -> None:
    serve(script=script)
    Path("rlm.toml").write_text(CODER)

    waiting = shell.here("run", "Go.", "--approve", "subcalls", "--thread", "r1")
    asked = shell.here("resume", "r1", "--approve")

    assert waiting.exit_code == asked.exit_code == 7
    assert "1 of 1: llm_query ---" in waiting.stderr
    assert "1 of 1: rlm_query (coder) ---" in asked.stderr
    assert shell.here("rm", "r1", "--yes").exit_code == 0


def test_the_recorded_ceilings_of_a_specialist_are_those_that_were_set(shell: Shell, serve: Serve) -> None:
    from rlm_graph.runs.job import Job
    from rlm_graph.settings import Settings

    Path("rlm.toml").write_text(CODER)
    settings = Settings.load({"model": MODEL})

    record: Any = Job("Go.", settings).record()["settings"]
    again = Settings.checked(record)

    assert again.agents == settings.agents
    assert again.agents["coder"].budget is not None
    assert again.agents["coder"].budget.model_fields_set == {"max_turns"}


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ('[agents.coder]\nmodell = "m"', "agents.coder.modell: no such setting"),
        ('[agents.coder]\nexecutor = "nowhere"', "'nowhere' is none of"),
        ('[agents.coder.executor]\nkind = "local"\npids = 3', "agents.coder.executor.pids"),
        ("[agents.coder.budget]\nmax_turns = -1", "agents.coder.budget.max_turns"),
        ('[agents.coder]\ntools = ["nothing"]', "agent coder: there is no tool 'nothing'"),
        ('[agents."a b"]\nmodel = "openai/gpt-4o"', "agent 'a b': a name has letters"),
        ('[agents.coder]\nmodel = "anthropic/claude-sonnet-4-5"', "set ANTHROPIC_API_KEY"),
    ],
)
def test_what_is_wrong_with_a_specialist_is_said_before_anything_runs(
    shell: Shell, serve: Serve, table: str, words: str
) -> None:
    server = serve(script=script)
    Path("rlm.toml").write_text(table)
    shell.here("trust")
    del shell.variables["RLM_MODELS__BASE_URL"]

    result = shell.here("run", "Go.", "--base-url", server.url)

    assert result.exit_code in (2, 3)
    assert words in result.stderr
    assert server.requests == []


def test_sandboxes_of_specialists_are_looked_for_where_they_are() -> None:
    from rlm_graph.executors.sandbox_owners import sandbox_owners
    from rlm_graph.settings import Settings

    agents = {"a": {"executor": "e2b"}, "b": {"executor": "e2b"}, "c": {"executor": "local"},
              "d": {"executor": {"kind": "docker", "host": "tcp://10.0.0.1:2375"}}}  # fmt: skip
    settings = Settings.checked({"agents": agents})

    found = sandbox_owners(settings.executor, *settings.agent_executors)

    kinds = [getattr(keeper, "kind", "") for keeper in found]
    assert [kinds.count(kind) for kind in ("local", "pyodide", "docker", "e2b")] == [1, 1, 1, 1]
    assert len(found) == len(sandbox_owners(settings.executor)) + 2
