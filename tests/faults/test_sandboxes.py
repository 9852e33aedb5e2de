"""A process of the sandbox dies in the middle of a cell, while the host lives."""

from __future__ import annotations

import os
import signal

import pytest

from tests.faults.harness import Lane
from tests.faults.outcome import Outcome
from tests.faults.processes import workers_in
from tests.faults.scenarios import FRAGILE, TURNS

pytestmark = [pytest.mark.confinement, pytest.mark.timeout(600)]


def test_the_worker_costs_its_variables_and_the_model_is_told(lane: Lane) -> None:
    undisturbed = lane.undisturbed(FRAGILE)
    with lane.trial(FRAGILE) as trial:
        host = trial.begin({second_question(undisturbed): signal.SIGSTOP})
        host.wait_until_stopped()

        [worker] = workers_in(trial.folder)
        os.kill(worker, signal.SIGKILL)
        host.send(signal.SIGCONT)
        outcome = Outcome()
        trial.ended(host, outcome)

    assert outcome.statuses == [0], outcome.said
    assert outcome.answer[0] == "lost"
    assert outcome.answer[1].startswith("answer to three")
    assert any("was killed, and the REPL with it" in request.content for request in outcome.requests)
    assert outcome.left == []
    asked = [request.content for request in outcome.requests if not request.content.startswith("system")]
    assert sorted(asked) == ["user: one", "user: three", "user: two"]


def test_the_supervisor_ends_the_command_and_a_resume_gives_the_same_answer(lane: Lane) -> None:
    undisturbed = lane.undisturbed(TURNS)
    with lane.trial(TURNS) as trial:
        host = trial.begin({second_question(undisturbed): signal.SIGSTOP})
        host.wait_until_stopped()

        trial.place.kill()
        host.send(signal.SIGCONT)
        outcome = Outcome()
        trial.ended(host, outcome)
        assert trial.ended(trial.begin(), outcome) == 0

    assert outcome.statuses == [5, 0]
    assert "error: the supervisor of the REPL is gone" in outcome.said[0]
    assert "go on: rlm-graph resume mine" in outcome.said[0]
    assert outcome.faults(TURNS, undisturbed) == []


def second_question(undisturbed: Outcome) -> int:
    """The event at which the model is asked the second question of a cell, which waits."""
    return [number for number, each in enumerate(undisturbed.events, 1) if each == "request"][2]
