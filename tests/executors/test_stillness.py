"""Whether code does nothing but wait, as the supervisor finds out before it gives the next answer."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from rlm_graph.executors.sandbox.supervisor.stillness import is_still

SLEEPS = "import threading\nfor _ in range(20): threading.Thread(target=input).start()"
"""Each thread waits for the lock of standard input, or for a line of it."""
COMPUTES = f"{SLEEPS}\nprint('begun', flush=True)\nwhile True: pass"


@contextmanager
def process(code: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as running:
        try:
            yield running
        finally:
            running.kill()


def test_a_process_whose_threads_all_wait_is_still() -> None:
    with process(f"{SLEEPS}\nprint('begun', flush=True)") as running:
        assert running.stdout is not None
        running.stdout.readline()

        while not is_still(running.pid):  # the test's own limit ends the wait
            assert running.poll() is None


def test_a_process_is_not_still_while_one_of_its_threads_computes() -> None:
    with process(COMPUTES) as running:
        assert running.stdout is not None
        running.stdout.readline()

        assert not any(is_still(running.pid) for _ in range(200))


@pytest.mark.parametrize("code", ["print('begun', flush=True)\ninput()"])
def test_a_process_that_wakes_up_is_still_no_more(code: str) -> None:
    woken = f"{code}\nwhile True: pass"
    with process(woken) as running:
        assert running.stdin is not None
        assert running.stdout is not None
        running.stdout.readline()
        while not is_still(running.pid):
            assert running.poll() is None

        running.stdin.write("\n")
        running.stdin.flush()

        while is_still(running.pid):
            assert running.poll() is None
        assert not any(is_still(running.pid) for _ in range(200))
