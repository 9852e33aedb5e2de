"""Ctrl-C and SIGTERM: the first lets the step end, the second stops now; a resume goes on from either."""

from __future__ import annotations

import signal

import pytest

from tests.faults.harness import Lane
from tests.faults.scenarios import BATCH

pytestmark = [pytest.mark.confinement, pytest.mark.timeout(600)]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_the_first_signal_lets_the_step_end_and_loses_nothing(lane: Lane, number: signal.Signals) -> None:
    undisturbed = lane.undisturbed(BATCH)
    with lane.trial(BATCH) as trial:
        outcome = trial.run({nth(undisturbed.events, "request", 5): number})

    assert outcome.statuses == [130, 0]
    assert outcome.under_way == [[]]
    assert outcome.faults(BATCH, undisturbed) == []
    assert "go on: rlm-graph resume mine" in outcome.said[0]


def test_the_second_signal_stops_at_once(lane: Lane) -> None:
    undisturbed = lane.undisturbed(BATCH)
    first = nth(undisturbed.events, "request", 1)
    with lane.trial(BATCH) as trial:
        outcome = trial.run({first: signal.SIGINT, first + 1: signal.SIGTERM})

    assert outcome.statuses == [130, 0]
    assert outcome.faults(BATCH, undisturbed) == []
    assert any("part" in request.content for request in outcome.requests if request.life == 2)
    assert "go on: rlm-graph resume mine" in outcome.said[0]


def nth(events: list[str], kind: str, which: int) -> int:
    return [number for number, each in enumerate(events, 1) if each == kind][which]
