"""One process at a time on a run: the second is told at once who holds it, and the lock dies with its holder."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

from rlm_graph.errors import RunHeldError
from rlm_graph.storage.locks import Place, aplace_of, held, place_of, unheld

HOLDER = """
import sys
from pathlib import Path
from rlm_graph.storage.locks import Place, held
path = sys.argv[1]
place = Place(path, conninfo=path) if path.startswith("postgres") else Place(path, path=Path(path))
with held(place, sys.argv[2]):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def another_process(database: str, run: str) -> Iterator[subprocess.Popen[str]]:
    """Hold the run in another process until the block ends."""
    command = [sys.executable, "-c", HOLDER, database, run]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "postgres":
        uri = request.getfixturevalue("postgres")
        return Place(uri, conninfo=uri)
    return Place(str(tmp_path / "runs.sqlite"), path=tmp_path / "runs.sqlite")


def test_the_second_process_is_told_at_once_who_holds_the_run(place: Place) -> None:
    with another_process(place.name, "a run") as process:
        with pytest.raises(RunHeldError) as raised, held(place, "a run"):
            pass

        assert f"process {process.pid}" in raised.value.holder
        assert "since" in raised.value.holder
        with held(place, "another run"):
            pass


def test_a_holder_that_is_stopped_still_holds_and_one_that_is_killed_does_not(place: Place) -> None:
    with another_process(place.name, "a run") as process:
        process.send_signal(signal.SIGSTOP)
        os.waitpid(process.pid, os.WUNTRACED)
        with pytest.raises(RunHeldError), held(place, "a run"):
            pass

        process.kill()
        process.wait()
        _wait_until_free(place)
        with held(place, "a run"):
            pass


def _wait_until_free(place: Place) -> None:
    # The kernel frees a file's lock with the process; a server needs a moment to notice that its client is gone.
    for _ in range(1000):
        try:
            with held(place, "a run"):
                return
        except RunHeldError:
            continue
    raise AssertionError("the lock outlived its process")


def test_two_tasks_of_one_process_are_two_as_well(place: Place) -> None:
    with held(place, "a run"), pytest.raises(RunHeldError, match="this process"), held(place, "a run"):
        pass
    with held(place, "a run"):
        pass


def test_it_can_be_seen_whether_a_run_is_held_without_taking_it(place: Place) -> None:
    with held(place, "once"):
        pass
    with another_process(place.name, "theirs"), held(place, "ours"):
        assert unheld(place, ["theirs", "ours", "once", "never"]) == {"once", "never"}
        assert unheld(place, []) == set()


def test_a_look_does_not_keep_anybody_from_a_run(place: Place) -> None:
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            unheld(place, ["a run"])

    looking = threading.Thread(target=look)
    looking.start()
    try:
        for _ in range(200):
            with held(place, "a run"):
                pass
    finally:
        stop.set()
        looking.join()


async def test_a_saver_tells_where_its_records_are(tmp_path: Path) -> None:
    path = tmp_path / "runs.sqlite"
    connection = sqlite3.connect(path, check_same_thread=False)

    assert place_of(SqliteSaver(connection)).path == path
    assert place_of(SqliteSaver(sqlite3.connect(":memory:"))).path is None
    async with AsyncSqliteSaver.from_conn_string(str(path)) as saver:
        assert (await aplace_of(saver)).path == path
    connection.close()
