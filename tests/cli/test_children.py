"""What a child does can be decided on and forked from as what the root does, wherever their code runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from rlm_graph.testing import ScriptedRequest, ScriptedServer
from tests.cli.conftest import Shell, code

Serve = Callable[..., ScriptedServer]

pytestmark = pytest.mark.parametrize("place", ["local", pytest.param("docker", marks=pytest.mark.docker)])


@pytest.fixture
def here(shell: Shell, place: str, request: pytest.FixtureRequest) -> Shell:
    """The shell, whose runs are in that place."""
    if place == "docker":
        image = request.getfixturevalue("docker_image")
        shell.variables |= {"RLM_EXECUTOR__KIND": "docker", "RLM_EXECUTOR__IMAGE": image, "RLM_EXECUTOR__PULL": "false"}
    return shell


def family(*root: str) -> Callable[[ScriptedRequest], Any]:
    """A root with these turns, after one that asks a child; and the child, which asks a sub-model."""
    turns = [code("x = [rlm_query('of the child', context='its own')]"), *root]

    def script(request: ScriptedRequest) -> str:
        roles = [message["role"] for message in request.messages]
        if "system" not in roles:
            return f"answer to {request.prompt}"
        if "of the child" in request.messages[1]["content"]:
            return code("FINAL(llm_query(context))")
        return turns[min(roles.count("assistant"), len(turns) - 1)]

    return script


def asked(server: ScriptedServer) -> int:
    """How often the child's question was put to the sub-model."""
    return len(server.requests_like(lambda request: request.prompt == "its own"))


def test_a_call_of_a_child_waits_is_shown_and_made_when_it_is_approved(here: Shell, serve: Serve) -> None:
    server = serve(script=family(code("FINAL(x)")))

    child = here.here("run", "q", "--approve", "subcalls", "--thread", "mine")
    call = here.here("resume", "mine", "--approve")
    before = asked(server)
    done = here.here("resume", "mine", "--approve")

    assert [child.exit_code, call.exit_code, done.exit_code] == [7, 7, 0], done.output
    assert "of the child" in child.stderr
    assert "its own" in call.stderr
    assert (before, asked(server)) == (0, 1)
    assert json.loads(done.stdout) == ["answer to its own"]


def test_a_fork_after_a_child_has_its_answer_and_leaves_the_run_as_it_was(here: Shell, serve: Serve) -> None:
    server = serve(script=family(code("x.append('changed')"), code("FINAL(x)")))
    original = here.here("run", "q", "--thread", "mine")
    before = here.here("logs", "mine", "--json").stdout
    server.script = family(code("FINAL([*x, 'another way'])"))

    forked = here.here("fork", "mine", "--at", "1", "--thread", "other")

    assert json.loads(original.stdout) == ["answer to its own", "changed"]
    assert json.loads(forked.stdout) == ["answer to its own", "another way"]
    assert asked(server) == 1
    assert here.here("logs", "mine", "--json").stdout == before
