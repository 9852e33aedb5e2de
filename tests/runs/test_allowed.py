"""A record is no setting: what somebody has written into a run's row turns nothing off and sends nothing elsewhere."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from typing import Any

import pytest

from rlm_graph.budget import Usage
from rlm_graph.errors import Hint, SetupError
from rlm_graph.runs.job import Job
from rlm_graph.settings import Settings
from rlm_graph.storage.runs import Run
from rlm_graph.testing import ScriptedReply, ScriptedServer
from tests.cli.conftest import Shell, code, serve, shell

__all__ = ["serve", "shell"]

Serve = Callable[..., ScriptedServer]


def recorded(tools: tuple[str, ...] = (), **settings: Any) -> Run:
    """A run that says it was started with these settings."""
    record = Job("Why?", Settings.checked({"model": "openai/gpt-5", **settings})).record()
    return Run(
        id="mine",
        question="Why?",
        source="",
        model="openai/gpt-5",
        status="failed",
        settings={**record, "tools": list(tools)},
        usage=Usage(),
        created=0,
        updated=0,
    )


E2B = {"executor": {"kind": "e2b", "api_url": "https://example.org"}}
DOCKER = {"executor": {"kind": "docker", "host": "tcp://192.0.2.1:2375"}}
BASE = {"models": {"base_url": "https://example.org/v1"}}


@pytest.mark.parametrize(
    ("settings", "key", "hint"),
    [
        ({"executor": {"unsafe": True}}, "executor.unsafe", Hint("allow_unsafe")),
        ({"executor": {"kind": "pyodide", "unsafe": True}}, "executor.unsafe", Hint("set_again", "executor.unsafe")),
        (DOCKER, "executor.host", Hint("set_again", "executor.host")),
        ({"executor": {"kind": "docker", "network": "host"}}, "executor.network", None),
        ({"executor": {"kind": "docker", "image": "evil"}}, "executor.image", None),
        ({"executor": {"kind": "docker", "bash": True}}, "executor.bash", None),
        (E2B, "executor.api_url", None),
        ({"executor": {"kind": "e2b", "domain": "example.org"}}, "executor.domain", None),
        ({"executor": {"kind": "e2b", "allow_internet": True}}, "executor.allow_internet", None),
        ({"agents": {"a": E2B}}, "agents.a.executor.api_url", None),
        ({"agents": {"a": {"executor": {"unsafe": True}}}}, "agents.a.executor.unsafe", None),
        ({"agents": {"a": {"tools": ["of_a_package"]}}}, "agents.a.tools", Hint("give_tool", "of_a_package")),
        (BASE, "models.base_url", Hint("give_base_url", "https://example.org/v1")),
        ({"models": {"base_url": "http://127.0.0.1.example.org/v1"}}, "models.base_url", None),
    ],
)
def test_what_a_record_says_is_refused_unless_today_allows_it(
    settings: dict[str, Any], key: str, hint: Hint | None
) -> None:
    run = recorded(**settings)

    with pytest.raises(SetupError) as caught:
        Job.of(run, Settings(), {})

    assert f"run mine was started with {key} = " in caught.value.problem
    assert hint is None or caught.value.hint == hint
    assert Job.of(run, Settings.checked(settings), {}).settings.executor == Settings.checked(settings).executor
    assert Job.of(run, Settings(), settings).settings.models == Settings.checked(settings).models


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"executor": {"kind": "docker"}},
        {"executor": {"kind": "e2b", "timeout_s": 60}},
        {"executor": {"kind": "docker", "cpus": 2}},
        {"models": {"base_url": "http://localhost:8000/v1", "profile": "small"}},
        {"models": {"base_url": "http://127.0.0.1:11434"}},
        {"agents": {"a": {"tools": ["search"], "model": "openai/gpt-5"}}},
    ],
)
def test_the_common_case_needs_nothing_again(settings: dict[str, Any]) -> None:
    kept = Job.of(recorded(**settings), Settings(), {}).settings

    wanted = Settings.checked(settings)
    assert (kept.executor, kept.models, kept.agents) == (wanted.executor, wanted.models, wanted.agents)


def test_a_recorded_tool_is_one_of_today_or_is_refused() -> None:
    run = recorded(tools=("search", "of_a_package"))
    server = {"mcp": {"of": {"command": "server"}}}

    with pytest.raises(SetupError, match=r'tools\.use = "of_a_package", which is not allowed today') as caught:
        Job.of(run, Settings(), {})

    assert caught.value.hint == Hint("give_tool", "of_a_package")
    for settings in ({"tools": {"use": ["of_a_package"]}}, {"tools": server}):
        kept = Job.of(run, Settings.checked(settings), {}).settings
        assert kept.tools.use == ("search", "of_a_package")
    assert Job.of(run, Settings(), {"tools": {"use": ["search"]}}).settings.tools.use == ("search",)


def test_a_run_can_be_deleted_whatever_its_record_says_of_models_and_tools() -> None:
    run = recorded(tools=("of_a_package",), **BASE)

    assert Job.of(run, Settings(), {}, reach="executors").settings.executor.kind == "local"
    with pytest.raises(SetupError):
        Job.of(recorded(**E2B), Settings(), {}, reach="executors")


@pytest.mark.confinement
@pytest.mark.parametrize(
    ("key", "value", "flag"),
    [
        ("$.settings.executor.unsafe", True, "--unsafe-local"),
        ("$.settings.models.base_url", "https://example.org/v1", "--base-url https://example.org/v1"),
        ("$.tools", ["of_a_package"], "--tool of_a_package"),
    ],
)
def test_a_row_that_was_tampered_with_is_refused_with_the_flag_that_would_allow_it(
    shell: Shell, serve: Serve, key: str, value: Any, flag: str
) -> None:
    server = serve(code("x = 1"), ScriptedReply(status=400, error="no"))
    assert shell.here("run", "What?", "--thread", "mine").exit_code == 6
    with sqlite3.connect(shell.db) as connection:
        connection.execute("UPDATE runs SET settings = json_set(settings, ?, json(?))", (key, json.dumps(value)))
    connection.close()
    asked = server.count
    server.script = lambda request: code("FINAL(x)")

    refused = {
        command: shell.here(command, "mine", *more) for command, *more in (["resume"], ["fork"], ["ask", "And?"])
    }

    for result in refused.values():
        assert result.exit_code == 3
        assert "which is not allowed today" in result.stderr
        assert flag in result.stderr
    assert server.count == asked
    resumed = shell.here(
        "resume", "mine", "--base-url", server.url, "--tool", "search", "--unsafe-local", RLM_TOOLS__ROOTS='["."]'
    )
    assert (resumed.exit_code, resumed.stdout) == (0, "1\n"), resumed.stderr
