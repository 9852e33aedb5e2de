"""A run that is killed ends as if it had not been. This is a sample; `make faults` kills at every event."""

from __future__ import annotations

import random
import signal

import pytest

from tests.faults.harness import Lane
from tests.faults.scenarios import (
    BATCH,
    CALLS,
    CHILDREN,
    COMPLETED,
    CONTAINERS,
    LOOP,
    NESTED,
    SAME,
    SCENARIOS,
    THREADS,
    TURNS,
    WIDE,
    Scenario,
)

pytestmark = pytest.mark.timeout(600)


def needs(scenario: Scenario) -> pytest.MarkDecorator:
    """What a machine must have for the scenario."""
    return pytest.mark.docker if scenario.executor == "docker" else pytest.mark.confinement


MOMENTS = [
    ("while the model thinks", TURNS, "request", 0, False),
    ("while a checkpoint is written", TURNS, "commit", 12, False),
    ("before its first checkpoint", TURNS, "commit", 1, False),
    ("inside a cell", TURNS, "frame out exec", 2, False),
    ("while the last checkpoint is written", TURNS, "commit", -2, True),
    ("between two answers of a batch", BATCH, "half a reply", 12, False),
    ("with a batch half recorded", BATCH, "half a reply", 8, True),
    ("with threads half answered", THREADS, "half a reply", 9, True),
    ("with a batch of 200 half answered", WIDE, "half a reply", 100, True),
    ("with a loop half answered", LOOP, "half a reply", 80, True),
    ("with what was completed first half asked about", COMPLETED, "half a reply", 14, True),
    ("inside batches of children", NESTED, "half a reply", 30, True),
    ("inside a child", CHILDREN, "frame out exec", 2, False),
    ("while a child ends", CHILDREN, "rmtree", -2, True),
    ("between two answers to the model's own calls", CALLS, "half a reply", 3, False),
    ("while a cell runs beside the model's own calls", CALLS, "frame in calls", 0, True),
    ("inside a child in a container", CONTAINERS, "frame out exec", 2, False),
    ("before a child's container starts", CONTAINERS, "start", 1, False),
    ("while a child's container is removed", CONTAINERS, "daemon remove", 1, True),
]


@pytest.mark.parametrize(
    ("scenario", "kind", "which", "lose_repl"),
    [pytest.param(*moment[1:], marks=needs(moment[1]), id=moment[0]) for moment in MOMENTS],
)
def test_a_run_that_was_killed_ends_as_if_it_had_not_been(
    lane: Lane, scenario: Scenario, kind: str, which: int, lose_repl: bool
) -> None:
    undisturbed = lane.undisturbed(scenario)
    moment = [number for number, each in enumerate(undisturbed.events, 1) if each == kind][which]

    outcome = lane.run(scenario, [moment], lose_repl=lose_repl)

    assert outcome.statuses == [-signal.SIGKILL, 0]
    assert outcome.faults(scenario, undisturbed) == []


@pytest.mark.confinement
def test_a_run_that_was_killed_twice_does_too(lane: Lane) -> None:
    undisturbed = lane.undisturbed(TURNS)
    third = len(undisturbed.events) // 3

    outcome = lane.run(TURNS, [third, 2 * third])

    assert outcome.statuses == [-signal.SIGKILL, -signal.SIGKILL, 0]
    assert outcome.faults(TURNS, undisturbed) == []


@pytest.mark.confinement
def test_a_run_that_was_killed_at_times_of_no_meaning_does_too(lane: Lane) -> None:
    undisturbed = lane.undisturbed(COMPLETED)
    chance = random.Random(7)
    times = [chance.uniform(0.2, 0.9) * undisturbed.took_s for _ in range(2)]

    outcome = lane.run(COMPLETED, times=times, lose_repl=True)

    assert outcome.statuses[-1] == 0
    assert outcome.faults(COMPLETED, undisturbed) == []


@pytest.mark.confinement
def test_clocks_that_jump_back_and_forth_by_hours_change_nothing(lane: Lane) -> None:
    undisturbed = lane.undisturbed(TURNS)
    third = len(undisturbed.events) // 3

    outcome = lane.run(TURNS, [third, 2 * third], clocks=[5 * 3600, -7 * 3600, 3600])

    assert outcome.statuses == [-signal.SIGKILL, -signal.SIGKILL, 0]
    assert outcome.faults(TURNS, undisturbed) == []


@pytest.mark.confinement
@pytest.mark.parametrize("lose_repl", [False, True], ids=["left alive", "killed too"])
def test_the_same_call_from_eight_threads_keeps_eight_answers(lane: Lane, lose_repl: bool) -> None:
    undisturbed = lane.undisturbed(SAME)
    answered = [number for number, each in enumerate(undisturbed.events, 1) if each == "frame out resume"]

    outcome = lane.run(SAME, [answered[3]], lose_repl=lose_repl)

    assert outcome.faults(SAME, undisturbed) == []
    assert len(set(outcome.answer)) == 8


@pytest.mark.parametrize(
    "scenario", [pytest.param(scenario, marks=needs(scenario), id=scenario.name) for scenario in SCENARIOS]
)
def test_a_run_that_nobody_disturbs_keeps_its_repl_and_leaves_none(lane: Lane, scenario: Scenario) -> None:
    undisturbed = lane.undisturbed(scenario)

    assert undisturbed.faults(scenario, undisturbed) == []
    assert undisturbed.events.count("start") == scenario.repls
