"""One process at a time on a run: the second is told at once who holds it, and the lock dies with its holder."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

from rlm_graph.errors import RunHeldError
from rlm_graph.storage.locks import RecordLocation, alocation_of, free_runs, location_of, lock_run

HOLDER = """
import sys
from pathlib import Path
from rlm_graph.storage.locks import RecordLocation, lock_run
path = sys.argv[1]
place = RecordLocation(path, conninfo=path) if path.startswith("postgres") else RecordLocation(path, path=Path(path))
with lock_run(place, sys.argv[2]):
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
def place(request: pytest.FixtureRequest, tmp_path: Path) -> RecordLocation:
    if request.param == "postgres":
        uri = request.getfixturevalue("postgres")
        return RecordLocation(uri, conninfo=uri)
    return RecordLocation(str(tmp_path / "runs.sqlite"), path=tmp_path / "runs.sqlite")


def test_the_second_process_is_told_at_once_who_holds_the_run(place: RecordLocation) -> None:
    with another_process(place.name, "a run") as process:
        with pytest.raises(RunHeldError) as raised, lock_run(place, "a run"):
            pass

        assert f"process {process.pid}" in raised.value.holder
        assert "since" in raised.value.holder
        with lock_run(place, "another run"):
            pass


def test_a_holder_that_is_stopped_still_holds_and_one_that_is_killed_does_not(place: RecordLocation) -> None:
    with another_process(place.name, "a run") as process:
        process.send_signal(signal.SIGSTOP)
        os.waitpid(process.pid, os.WUNTRACED)
        with pytest.raises(RunHeldError), lock_run(place, "a run"):
            pass

        process.kill()
        process.wait()
        _wait_until_free(place)
        with lock_run(place, "a run"):
            pass


def _wait_until_free(place: RecordLocation) -> None:
    # The kernel frees a file's lock with the process; a server needs a moment to notice that its client is gone.
    for _ in range(1000):
        try:
            with lock_run(place, "a run"):
                return
        except RunHeldError:
            continue
    raise AssertionError("the lock outlived its process")


def test_two_tasks_of_one_process_are_two_as_well(place: RecordLocation) -> None:
    with lock_run(place, "a run"), pytest.raises(RunHeldError, match="this process"), lock_run(place, "a run"):
        pass
    with lock_run(place, "a run"):
        pass


def test_it_can_be_seen_whether_a_run_is_held_without_taking_it(place: RecordLocation) -> None:
    with lock_run(place, "once"):
        pass
    with another_process(place.name, "theirs"), lock_run(place, "ours"):
        assert free_runs(place, ["theirs", "ours", "once", "never"]) == {"once", "never"}
        assert free_runs(place, []) == set()


def test_a_look_does_not_keep_anybody_from_a_run(place: RecordLocation) -> None:
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            free_runs(place, ["a run"])

    looking = threading.Thread(target=look)
    looking.start()
    try:
        for _ in range(200):
            with lock_run(place, "a run"):
                pass
    finally:
        stop.set()
        looking.join()


async def test_a_saver_tells_where_its_records_are(tmp_path: Path) -> None:
    path = tmp_path / "runs.sqlite"
    connection = sqlite3.connect(path, check_same_thread=False)

    assert location_of(SqliteSaver(connection)).path == path
    assert location_of(SqliteSaver(sqlite3.connect(":memory:"))).path is None
    async with AsyncSqliteSaver.from_conn_string(str(path)) as saver:
        assert (await alocation_of(saver)).path == path
    connection.close()


CONNECTIONS = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"


@pytest.mark.postgres
def test_a_process_holds_all_its_runs_on_one_connection_to_a_server(postgres: str) -> None:
    import psycopg

    place = RecordLocation(postgres, conninfo=postgres)
    with psycopg.connect(postgres, autocommit=True) as looking, ExitStack() as held:
        for number in range(200):
            held.enter_context(lock_run(place, f"run {number}"))

        assert looking.execute(CONNECTIONS).fetchall() == [(1,)]
        assert free_runs(place, ["run 0", "run 199", "no run"]) == {"no run"}
        assert _refused_elsewhere(postgres, "run 0")
        held.close()
        while looking.execute(CONNECTIONS).fetchall() != [(0,)]:  # the server takes a moment to notice
            time.sleep(0.01)


@pytest.mark.postgres
def test_a_run_that_ends_lets_go_of_none_but_itself_on_a_server(postgres: str) -> None:
    place = RecordLocation(postgres, conninfo=postgres)
    with lock_run(place, "a run"):
        with lock_run(place, "another run"):
            pass
        with another_process(postgres, "another run"):
            pass

        assert _refused_elsewhere(postgres, "a run")


@pytest.mark.postgres
def test_runs_are_held_again_when_the_connection_for_locks_was_lost(postgres: str) -> None:
    import psycopg

    place = RecordLocation(postgres, conninfo=postgres)
    with lock_run(place, "a run"):
        with psycopg.connect(postgres, autocommit=True) as other:
            other.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        with lock_run(place, "another run"):
            assert _refused_elsewhere(postgres, "another run")
    with lock_run(place, "a run"):
        assert _refused_elsewhere(postgres, "a run")


def _refused_elsewhere(database: str, run: str) -> bool:
    done = subprocess.run(
        [sys.executable, "-c", HOLDER, database, run], capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    return "RunHeldError" in done.stderr


@pytest.mark.postgres
def test_a_run_that_ended_with_an_error_is_free_at_once_on_a_server_too(postgres: str) -> None:
    place = RecordLocation(postgres, conninfo=postgres)
    for _ in range(30):
        with pytest.raises(ZeroDivisionError), lock_run(place, "a run"):
            raise ZeroDivisionError
