"""A database of an earlier version becomes one of this, whole or not at all; one that is not ours stays as it is."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from rlm_graph.errors import Hint, StorageError
from rlm_graph.storage.encryption import Cipher
from rlm_graph.storage.runs import Runs
from rlm_graph.storage.tables import VERSION
from tests.recorded.conftest import fill
from tests.recorded.runs import DATA, KEY, LANES, runs_in
from tests.recorded.runs import VERSION as RECORDED

pytestmark = pytest.mark.timeout(100)

Place = Path | str
Rows = dict[str, list[tuple[Any, ...]]]

OF_0_1_0 = {
    "runs": "id, question, source, model, settings, status, usage, created, updated",
    "encryption": "*",
    "checkpoints": "*",
    "writes": "*",
    "checkpoint_blobs": "*",
    "checkpoint_writes": "*",
}
"""The tables that version 0.1.0 wrote, and their columns."""


def unpacked(lane: str, folder: Path) -> Path:
    """The database of a lane as it was recorded: a file, or what fills a server."""
    with tarfile.open(DATA / RECORDED / f"{lane}.tar.gz") as archive:
        archive.extractall(folder, filter="data")
    return folder / "dump.sql" if "postgres" in lane else folder / "data" / "runs.sqlite"


@pytest.fixture(
    params=[pytest.param(lane, marks=pytest.mark.postgres) if "postgres" in lane else lane for lane in LANES]
)
def lane(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def old(lane: str, tmp_path: Path, request: pytest.FixtureRequest) -> Place:
    """A database that version 0.1.0 has written."""
    found = unpacked(lane, tmp_path)
    if "postgres" not in lane:
        return found
    address = str(request.getfixturevalue("postgres"))
    fill(address, found)
    return address


@pytest.fixture
def cipher(lane: str) -> Cipher | None:
    return Cipher(KEY.encode()) if "encrypted" in lane else None


def asked(place: Place, query: str) -> list[tuple[Any, ...]]:
    if isinstance(place, str):
        with psycopg.connect(place, autocommit=True) as connection:
            return connection.execute(query.encode()).fetchall()
    with closing(sqlite3.connect(place)) as connection:
        return connection.execute(query).fetchall()


def tables(place: Place) -> set[str]:
    if isinstance(place, str):
        return {name for (name,) in asked(place, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'")}
    return {name for (name,) in asked(place, "SELECT name FROM sqlite_master WHERE type = 'table'")}


def rows(place: Place) -> Rows:
    """All that version 0.1.0 had written."""
    there = [table for table in OF_0_1_0 if table in tables(place)]
    return {table: sorted(asked(place, f"SELECT {OF_0_1_0[table]} FROM {table}"), key=repr) for table in there}


def form(place: Place) -> set[tuple[Any, ...]]:
    """The columns of our tables, and their indexes."""
    if isinstance(place, str):
        columns = asked(
            place,
            "SELECT table_name, column_name, data_type, collation_name, is_nullable, column_default, ordinal_position"
            " FROM information_schema.columns WHERE table_schema = 'public'",
        )
        return {*columns, *asked(place, "SELECT tablename, indexdef FROM pg_indexes WHERE schemaname = 'public'")}
    columns = [asked(place, f"SELECT '{table}', * FROM pragma_table_info('{table}')") for table in tables(place)]
    indexes = "SELECT tbl_name, name, replace(sql, 'IF NOT EXISTS ', '') FROM sqlite_master WHERE type = 'index'"
    return {row for rows in (*columns, asked(place, indexes)) for row in rows}


def version(place: Place) -> int:
    query = "SELECT version FROM rlm_graph_schema" if isinstance(place, str) else "PRAGMA user_version"
    [(number,)] = asked(place, query)
    return int(number)


async def opened(place: Place, cipher: Cipher | None = None) -> list[str]:
    """Open the database; return the ids of its runs."""
    async with Runs.open(place, cipher=cipher) as runs:
        await runs.saver.aget_tuple({"configurable": {"thread_id": "none"}})  # makes the tables of checkpoints
        return [run.id async for run in runs.each()]


async def test_a_database_of_0_1_0_keeps_every_row_and_gets_the_form_of_a_new_one(
    lane: str, old: Place, cipher: Cipher | None, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    before = rows(old)

    ids = await opened(old, cipher)

    assert ids == [run.name for run in reversed(runs_in(lane))]
    assert rows(old) == before
    assert version(old) == VERSION
    assert set(asked(old, "SELECT owner, tenant, contexts_known FROM runs")) == {("", "", 0)}
    new: Place = tmp_path / "new.sqlite"
    if isinstance(old, str):
        new = old[: old.index("/t")] + "/" + another_database(old) + old[old.index("?") :]
    await opened(new)
    ours = {"runs", "run_contexts", "encryption", "rlm_graph_schema"}
    assert {row for row in form(old) if row[0] in ours} == {row for row in form(new) if row[0] in ours}


def another_database(address: str) -> str:
    """Make an empty database on the same server; return its name."""
    name = f"t{os.urandom(6).hex()}"
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"'.encode())
    return name


async def test_which_contexts_old_runs_refer_to_is_read_once(lane: str, old: Place, cipher: Cipher | None) -> None:
    async with Runs.open(old, cipher=cipher) as runs:
        finished, forked = await runs.get("finished"), await runs.get("forked")
        [context] = [value async for value in runs.recorded(finished)][:1]

        assert await runs.unshared(finished, [context]) == []  # the fork has it too
        known = asked(old, "SELECT run, context FROM run_contexts ORDER BY run, context")
        assert asked(old, "SELECT id FROM runs WHERE contexts_known = 0") == []
        await runs.delete(forked.id)
        others = [run async for run in runs.each() if run.id != "finished" and context in await contexts_of(runs, run)]
        for run in others:
            await runs.delete(run.id)
        assert await runs.unshared(finished, [context]) == [context]

    assert {run for run, _ in known} >= {"finished", "forked"}
    assert ((finished.id, context.sha256) in known) == (cipher is None)


async def contexts_of(runs: Runs, run: Any) -> list[Any]:
    from rlm_graph.state import ContextRef
    from rlm_graph.storage.run_contexts import instances_in

    return [ref async for value in runs.recorded(run) for ref in instances_in(value, ContextRef)]


OPEN = """
import asyncio, sys
from pathlib import Path
from rlm_graph.storage.encryption import Cipher
from rlm_graph.storage.runs import Runs
place, key = sys.argv[1:]
async def work():
    cipher = Cipher(key.encode()) if key else None
    async with Runs.open(place if place.startswith("postgres") else Path(place), cipher=cipher) as runs:
        print(await runs.count(), flush=True)
print("ready", flush=True)
sys.stdin.readline()
asyncio.run(work())
"""


@contextmanager
def another(place: Place, cipher: Cipher | None) -> Iterator[subprocess.Popen[str]]:
    """A process that opens the database when it is told to."""
    command = [sys.executable, "-c", OPEN, str(place), KEY if cipher else ""]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        try:
            yield process
        finally:
            process.kill()


def go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def test_processes_that_open_it_at_once_migrate_it_once(lane: str, old: Place, cipher: Cipher | None) -> None:
    before = rows(old)
    with ExitStack() as stack:
        processes = [stack.enter_context(another(old, cipher)) for _ in range(3)]
        for process in processes:
            go(process)
        ended = [process.communicate(timeout=80) for process in processes]

    assert ended == [(f"{len(runs_in(lane))}\n", "")] * 3
    assert (version(old), rows(old)) == (VERSION, before)


KILLED = """
import asyncio, os, shutil, signal, sys
from pathlib import Path
import aiosqlite
from rlm_graph.storage.group_commit import GroupCommit
from rlm_graph.storage.sqlite import SqliteDatabase
old, folder = Path(sys.argv[1]), Path(sys.argv[2])

def child(number, path):
    seen = []
    def statement(text):
        seen.append(text)
        if len(seen) == number:
            os.kill(os.getpid(), signal.SIGKILL)
    async def work():
        async with aiosqlite.connect(path) as connection:
            await connection.set_trace_callback(statement)
            await SqliteDatabase(connection, GroupCommit(path, busy_timeout_s=1), path).prepare()
    asyncio.run(work())

for number in range(1, 100):
    path = folder / f"{number}.sqlite"
    shutil.copy(old, path)
    if not (pid := os.fork()):
        child(number, path)
        os._exit(0)
    if os.waitpid(pid, 0)[1] == 0:
        break
"""


@pytest.fixture(params=["sqlite", "new"])
def begun(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A file of 0.1.0, or one that is still empty."""
    if request.param == "sqlite":
        return unpacked("sqlite", tmp_path)
    (tmp_path / "empty.sqlite").touch()
    return tmp_path / "empty.sqlite"


async def test_a_file_whose_migration_is_killed_at_any_statement_is_as_it_was_or_done(
    begun: Path, tmp_path: Path
) -> None:
    before, number, copies = rows(begun), version(begun), tmp_path / "copies"
    copies.mkdir()

    subprocess.run([sys.executable, "-c", KILLED, str(begun), str(copies)], check=True, timeout=200)

    killed = sorted(copies.glob("*.sqlite"), key=lambda path: int(path.stem))
    assert len(killed) > 12
    left = [version(path) for path in killed]
    assert set(left) == {number, VERSION}
    assert left == sorted(left)
    for path in killed:
        assert rows(path) == before if version(path) == number else rows(path).items() >= before.items()
        await opened(path)
        assert version(path) == VERSION
        assert before.items() <= rows(path).items() or not before
    assert len({frozenset(form(path)) for path in killed}) == 1


@pytest.mark.postgres
async def test_a_server_whose_migration_is_killed_is_as_it_was_and_is_migrated_the_next_time(
    postgres: str, tmp_path: Path
) -> None:
    fill(postgres, unpacked("postgres", tmp_path))
    before, as_it_was = rows(postgres), form(postgres)
    with (
        another(postgres, None) as process,
        psycopg.connect(postgres) as other,
        psycopg.connect(postgres, autocommit=True) as looking,
    ):
        # The last table that a migration makes: it waits for this transaction, with all its other statements done.
        other.execute("CREATE TABLE rlm_graph_schema (version INTEGER NOT NULL)")
        go(process)
        waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'CREATE TABLE%'"
        while looking.execute(waits).fetchone() != (1,):
            assert process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.communicate()
        other.rollback()
    others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    with psycopg.connect(postgres, autocommit=True) as connection:
        while connection.execute(others).fetchone() != (0,):
            pass
    assert (rows(postgres), form(postgres)) == (before, as_it_was)

    ids = await opened(postgres)

    assert ids == [run.name for run in reversed(runs_in("postgres"))]
    assert (rows(postgres), version(postgres)) == (before, VERSION)


@pytest.mark.postgres
async def test_what_0_1_0_left_when_it_was_killed_while_it_made_its_tables_is_taken_up(
    postgres: str, tmp_path: Path
) -> None:
    fill(postgres, unpacked("postgres", tmp_path))
    asked_for = ["DROP TABLE encryption", "TRUNCATE runs"]
    with psycopg.connect(postgres, autocommit=True) as connection:
        for statement in asked_for:
            connection.execute(statement.encode())

    assert await opened(postgres, Cipher(KEY.encode())) == []


async def test_a_file_of_the_version_before_0_1_0_gets_what_it_lacks(tmp_path: Path) -> None:
    path = unpacked("sqlite", tmp_path)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DROP TABLE encryption")
        connection.execute("PRAGMA user_version = 1")

    assert await opened(path) == [run.name for run in reversed(runs_in("sqlite"))]
    assert {"encryption", "run_contexts"} <= tables(path)


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
async def newer(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """A database that a later version has written."""
    place: Place = tmp_path / "runs.sqlite" if request.param == "sqlite" else request.getfixturevalue("postgres")
    await opened(place)
    if isinstance(place, str):
        with psycopg.connect(place, autocommit=True) as connection:
            connection.execute("UPDATE rlm_graph_schema SET version = 999")
            connection.execute("ALTER TABLE runs RENAME COLUMN question TO asked")
    else:
        with closing(sqlite3.connect(place)) as file, file:
            file.execute("PRAGMA user_version = 999")
    return place


async def test_a_database_of_a_later_version_is_refused_in_words_and_left_as_it_is(newer: Place) -> None:
    before = form(newer)

    with pytest.raises(StorageError, match=f"newer rlm-graph, in form 999 where this one knows {VERSION}") as raised:
        await opened(newer)

    assert raised.value.hints == (Hint("upgrade"), Hint("name_database"))
    assert (form(newer), version(newer)) == (before, 999)
    assert "hidden" not in str(raised.value)


@pytest.mark.postgres
@pytest.mark.parametrize(
    "theirs", ["CREATE TABLE runs (id TEXT, question TEXT)", "CREATE TABLE rlm_graph_schema (version INTEGER)"]
)
async def test_a_database_of_something_else_is_named_and_left_as_it_is(postgres: str, theirs: str) -> None:
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(theirs.encode())
    before = form(postgres)

    with pytest.raises(StorageError, match="a table of another kind, left as it is") as raised:
        await opened(postgres)

    assert raised.value.hints == (Hint("name_database"),)
    assert form(postgres) == before
