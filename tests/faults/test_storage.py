"""The database fails in the middle of a run: a clear error, nothing lost, and a resume once it is mended."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.harness import Lane
from tests.faults.outcome import Outcome
from tests.faults.scenarios import TURNS

pytestmark = [pytest.mark.confinement, pytest.mark.timeout(600)]

SETUP = 3
"""The exit code of a command whose database or settings cannot be used."""


def in_the_middle(undisturbed: Outcome) -> int:
    """An event at which the host waits for a reply and writes nothing."""
    return [number for number, each in enumerate(undisturbed.events, 1) if each == "request"][3]


def test_a_database_that_stays_locked_is_said_to_be_and_the_run_goes_on_later(lane: Lane) -> None:
    undisturbed = lane.undisturbed(TURNS)
    outcome = Outcome()
    with lane.trial(TURNS) as trial:
        host = trial.begin({in_the_middle(undisturbed): signal.SIGSTOP})
        host.wait_until_stopped()
        other = sqlite3.connect(trial.db, timeout=0.1)
        try:
            other.execute("BEGIN EXCLUSIVE")
            host.send(signal.SIGCONT)
        except sqlite3.OperationalError:  # the host was stopped within a transaction of its own
            host.send(signal.SIGCONT)
            other.execute("PRAGMA busy_timeout = 60000")
            other.execute("BEGIN EXCLUSIVE")
        trial.ended(host, outcome)  # it has waited for longer than it is patient
        other.close()
        assert trial.ended(trial.begin(), outcome) == 0

    assert outcome.statuses == [SETUP, 0]
    assert "error: " in outcome.said[0]
    assert "another process holds the database; try again when it is done" in outcome.said[0]
    assert outcome.faults(TURNS, undisturbed) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    options = ["-t", "tmpfs", "-o", "size=2m,mode=700", "rlm-graph-test", place]
    mounted = subprocess.run(["mount", *options], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a file system to fill")
def test_a_full_disk_is_said_to_be_full_and_the_run_goes_on_when_there_is_space(lane: Lane, small_disk: Path) -> None:
    undisturbed = lane.undisturbed(TURNS)
    outcome = Outcome()
    with lane.trial(TURNS) as trial:
        trial.db = small_disk / "runs.sqlite"
        host = trial.begin({in_the_middle(undisturbed): signal.SIGSTOP})
        host.wait_until_stopped()
        fill(small_disk / "ballast")

        host.send(signal.SIGCONT)
        trial.ended(host, outcome)
        (small_disk / "ballast").unlink()
        assert trial.ended(trial.begin(), outcome) == 0

    assert outcome.statuses == [SETUP, 0]
    assert "error: " in outcome.said[0]
    assert "no space is left for the database; free some" in outcome.said[0]
    assert outcome.faults(TURNS, undisturbed) == []


def fill(path: Path) -> None:
    """Write until nothing more fits."""
    with path.open("wb", buffering=0) as file:
        for size in (1 << 16, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                continue
