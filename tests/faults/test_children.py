"""The sandbox of a child ends in the middle of its cell: it goes on in another, and nothing is asked twice."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from rlm_graph.executors.host.process import process_start
from rlm_graph.testing import ScriptedRequest, ScriptedServer
from rlm_graph.testing.script import text_of
from rlm_graph.testing.server import Hold
from tests.faults.commands import Host
from tests.faults.harness import Lane, Trial
from tests.faults.outcome import Outcome
from tests.faults.places import Containers, docker
from tests.faults.processes import supervisors_in
from tests.faults.scenarios import CHILDREN, CONTAINERS, Scenario
from tests.faults.script import plain

pytestmark = pytest.mark.timeout(600)

LOCAL = pytest.mark.confinement
DOCKER = pytest.mark.docker

ROOT = "asked = llm_query('first')\nFINAL([asked, rlm_query('Name the moons', context='Io')])"
CHILD = "known = llm_query('known')\nFINAL(known + ' and ' + llm_query('moon'))"
ANSWER = ["first ", "known  and moon "]


def script(request: ScriptedRequest) -> str:
    """A root that asks a child, whose cell asks two questions."""
    mark = f"[#{request.number:06}]"
    if not any(message["role"] == "system" for message in request.messages):
        return f"{request.prompt} {mark}"
    question = next(text_of(message["content"]) for message in request.messages if message["role"] == "user")
    return f"{mark}\n```repl\n{CHILD if 'Name the moons' in question else ROOT}\n```"


@contextmanager
def begun(trial: Trial) -> Iterator[tuple[ScriptedServer, Hold, Host]]:
    """The command and its model, whose reply to the second question of the child's cell is held back."""
    with ScriptedServer(script) as server:
        trial.url = server.url
        with server.holding(lambda request: request.prompt == "moon") as hold:
            host = trial.begin({})
            hold.wait()
            yield server, hold, host


def end_the_child(trial: Trial, how: str) -> None:
    """End the sandbox of the child: the one that was started last."""
    if isinstance(trial.place, Containers):
        docker(*how.split(), trial.place.noted()[-1])
    else:
        os.kill(max(supervisors_in(trial.folder), key=lambda pid: int(process_start(pid) or 0)), signal.SIGKILL)


def asked(server: ScriptedServer) -> list[str]:
    return [request.prompt for request in server.requests if request.prompt in ("first", "known", "moon")]


@pytest.mark.parametrize(
    ("scenario", "how"),
    [
        pytest.param(CHILDREN, "kill", marks=LOCAL, id="a killed process"),
        pytest.param(CONTAINERS, "rm --force --volumes", marks=DOCKER, id="a removed container"),
    ],
)
def test_a_child_whose_sandbox_ends_goes_on_in_another_and_its_parent_reads_of_no_error(
    lane: Lane, scenario: Scenario, how: str
) -> None:
    outcome = Outcome()
    with lane.trial(scenario) as trial, begun(trial) as (server, hold, host):
        end_the_child(trial, how)
        hold.release()

        trial.ended(host, outcome)

    assert outcome.statuses == [0], outcome.said
    assert [plain(part) for part in outcome.answer] == ANSWER
    assert asked(server)[:3] == ["first", "known", "moon"]
    assert asked(server)[3:] in ([], ["moon"])  # it was under way when the sandbox ended
    assert (outcome.usage["turns"], outcome.usage["subcalls"]) == (1, 5)  # the child was begun twice
    assert outcome.left == []


@pytest.mark.parametrize(
    ("scenario", "how"),
    [
        pytest.param(CHILDREN, "kill", marks=LOCAL, id="a killed process"),
        pytest.param(CONTAINERS, "kill", marks=DOCKER, id="a killed container"),
        pytest.param(CONTAINERS, "pause", marks=DOCKER, id="a paused container"),
    ],
)
def test_a_sandbox_that_a_child_lost_while_the_host_was_dead_is_replaced(
    lane: Lane, scenario: Scenario, how: str
) -> None:
    outcome = Outcome()
    with lane.trial(scenario) as trial, begun(trial) as (server, hold, host):
        host.send(signal.SIGKILL)
        trial.ended(host, outcome)
        end_the_child(trial, how)
        hold.release()

        trial.ended(trial.begin(), outcome)

    assert outcome.statuses == [-signal.SIGKILL, 0], outcome.said
    assert [plain(part) for part in outcome.answer] == ANSWER
    assert asked(server) == ["first", "known", "moon", "moon"]  # it was under way when the host was killed
    assert outcome.left == []
