"""Two processes on one run: the second is told at once who holds it, even if that one does not move any more."""

from __future__ import annotations

import re
import signal
import socket

import pytest

from tests.faults.harness import RUN, Lane
from tests.faults.outcome import Outcome
from tests.faults.scenarios import TURNS

pytestmark = [pytest.mark.confinement, pytest.mark.timeout(600)]


def test_a_stopped_holder_is_named_and_once_it_is_killed_another_goes_on(lane: Lane) -> None:
    undisturbed = lane.undisturbed(TURNS)
    with lane.trial(TURNS) as trial:
        outcome = Outcome()
        holder = trial.begin({len(undisturbed.events) // 2: signal.SIGSTOP})
        holder.wait_until_stopped()

        second = trial.start("resume", RUN, "--json")

        assert second.wait() == 1
        held = re.search(r"held by process (\d+) on (\S+) since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d", second.stderr)
        assert held is not None, second.stderr
        assert held.groups() == (str(holder.pid), socket.gethostname())
        assert second.stdout == ""

        trial.lives = 1  # the one that was refused has not worked on the run
        holder.send(signal.SIGKILL)
        trial.ended(holder, outcome)
        assert trial.ended(trial.begin(), outcome) == 0

    assert outcome.statuses == [-signal.SIGKILL, 0]
    assert outcome.faults(TURNS, undisturbed) == []
