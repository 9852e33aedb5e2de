"""Answers that other engines hand to the wrong call: recorded cases, each once a wrong answer elsewhere.

LangGraph matches what a node calls by the order of the calls. A re-run that calls in another order, or whose first call
is answered last, then gets the answers of its neighbours, and no error.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from rlm_graph.testing import ScriptedRequest, ScriptedServer
from tests.faults.harness import Lane, Trial
from tests.faults.outcome import Outcome
from tests.faults.processes import wait_until
from tests.faults.scenarios import TURNS

pytestmark = [pytest.mark.confinement, pytest.mark.timeout(600)]

ORDERED_BY_PLACE = """
import os
order = ['west', 'east'] if 'elsewhere' in os.getcwd() else ['east', 'west']
found = {order[0]: llm_query(order[0])}
found[order[1]] = llm_query(order[1])
FINAL([found['east'], found['west']])
"""
AT_ONCE = """
from concurrent.futures import ThreadPoolExecutor
with ThreadPoolExecutor(2) as pool:
    FINAL(list(pool.map(llm_query, ['east', 'west'])))
"""


@pytest.fixture
def trial(lane: Lane) -> Iterator[Trial]:
    with lane.trial(TURNS) as trial:
        yield trial


def serving(trial: Trial, code: str) -> ScriptedServer:
    """A server in this process, whose replies can be held. The root model says `code`."""

    def script(request: ScriptedRequest) -> str:
        root = any(message["role"] == "system" for message in request.messages)
        mark = f"[#{request.number:06}]"
        return f"{mark}\n```repl{code}```" if root else f"{request.prompt} {mark}"

    server = ScriptedServer(script)
    trial.url = server.url
    return server


def asked(server: ScriptedServer) -> list[str]:
    """The prompts of the sub-calls, in order."""
    return [request.prompt for request in server.requests if request.prompt in ("east", "west")]


def test_calls_that_come_in_another_order_after_a_crash_get_their_own_answers(trial: Trial) -> None:
    outcome = Outcome()
    with serving(trial, ORDERED_BY_PLACE) as server:
        with server.holding(lambda request: request.prompt == "west") as hold:
            host = trial.begin({})
            hold.wait()
            host.send(signal.SIGKILL)
            trial.ended(host, outcome)
        trial.place.kill()
        trial.tmp = elsewhere(trial)

        assert trial.ended(trial.begin(), outcome) == 0, outcome.said

        assert asked(server) == ["east", "west", "west"]
    assert [answer.split()[0] for answer in outcome.answer] == ["east", "west"]


def elsewhere(trial: Trial) -> Path:
    """Another folder for REPLs, as on another machine."""
    folder = trial.folder / "tmp-elsewhere"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("lose_repl", [False, True], ids=["left alive", "killed too"])
def test_the_call_that_was_answered_first_keeps_its_answer_though_it_was_made_second(
    trial: Trial, lose_repl: bool
) -> None:
    outcome = Outcome()
    with serving(trial, AT_ONCE) as server:
        with server.holding(lambda request: request.prompt == "east") as hold:
            host = trial.begin({})
            hold.wait()
            wait_until(lambda: len(trial.recorded()) == 2)  # the root's reply, and the one from the west
            host.send(signal.SIGKILL)
            trial.ended(host, outcome)
        if lose_repl:
            trial.place.kill()

        assert trial.ended(trial.begin(), outcome) == 0, outcome.said

        assert sorted(asked(server)) == ["east", "east", "west"]
    assert [answer.split()[0] for answer in outcome.answer] == ["east", "west"]
