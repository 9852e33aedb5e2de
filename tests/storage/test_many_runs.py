"""Fifty thousand runs: what finds, lists, begins, ends or deletes one reads a handful of rows, in either database."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest

from rlm_graph import ContextStore
from rlm_graph.budget import Usage
from rlm_graph.errors import InputError
from rlm_graph.runs.deletion import delete
from rlm_graph.state import ContextRef
from rlm_graph.storage.runs import Runs
from rlm_graph.testing import ScriptedExecutor

RUNS = 50_000
MOST_ROWS = 1_000
"""That an operation may read: most of it for a name that is not there, to which like ones are looked for."""
MOST_STEPS = 20_000
"""Of SQLite's machine, which takes several for each row. To look at every run takes it many more than there are."""

pytestmark = pytest.mark.timeout(600)

SHARED = "5" * 64
RUN_ROW = ("id", "question", "source", "model", "settings", "status", "usage", "created", "updated", "contexts_known")
CHECKPOINT_ROW = ("thread_id", "checkpoint_ns", "checkpoint_id", "type", "checkpoint", "metadata")


def name(number: int) -> str:
    return f"202601{1 + number % 30:02}-{number:05}"


def run_rows() -> list[tuple[Any, ...]]:
    """One in a thousand is said to be running, and was interrupted; all share a context and each has its own."""
    statuses = ["running"] + ["done"] * 999
    return [
        (name(number), "why?", "", "m", "{}", statuses[number % 1000], "{}", float(number // 7), 0.0, 1)
        for number in range(RUNS)
    ]


def context_rows() -> list[tuple[str, str]]:
    return [(name(number), sha256) for number in range(RUNS) for sha256 in (SHARED, f"{number:064}")]


def ref(sha256: str) -> ContextRef:
    return ContextRef(sha256=sha256, kind="str", chars=1, bytes=1)


async def deleted(runs: Runs, folder: Path) -> None:
    """Delete a run with a context of its own, and one that all have."""
    run = await runs.get(name(777))
    own, shared = ref(f"{777:064}"), ref(SHARED)
    assert await runs.unshared(run, [own, shared]) == [own]
    await delete(runs, run, executor=ScriptedExecutor({}), contexts=ContextStore(folder / "contexts"))


async def seen(runs: Runs) -> None:
    running = (await runs.page(status="running")).runs
    assert [run.status for run in await runs.seen(running)] == ["interrupted"] * 50


async def later_page(runs: Runs) -> None:
    page = await runs.page(limit=10)
    assert len((await runs.page(limit=10, after=page.after)).runs) == 10


async def begun_and_ended(runs: Runs) -> None:
    context = ref(SHARED).model_dump(mode="json")
    run = await runs.create(question="?", source="", model="m", settings={"context": context})
    await runs.reopen(run.id, {"context": context})
    await runs.finish(run.id, "done", Usage())
    assert (await runs.last()).id == run.id


Operation = Callable[[Runs, Path], Awaitable[Any]]
OPERATIONS: dict[str, Operation] = {
    "get: an id": lambda runs, _: runs.get(name(4321)),
    "get: how an id starts": lambda runs, _: runs.get("20260102-0432"),
    "get: its part after the date": lambda runs, _: runs.get("04321"),
    "get: what many start with": lambda runs, _: runs.get("2026"),
    "get: what many have after the date": lambda runs, _: runs.get("0"),
    "get: a name that is not there": lambda runs, _: runs.get("20260107-99999"),
    "last": lambda runs, _: runs.last(),
    "page: the first": lambda runs, _: runs.page(limit=50),
    "page: a later one": lambda runs, _: later_page(runs),
    "page: of a status": lambda runs, _: runs.page(limit=10, status="running"),
    "page: of a status that none has": lambda runs, _: runs.page(limit=10, status="waiting"),
    "check_new": lambda runs, _: runs.check_new("other"),
    "new_id": lambda runs, _: runs.new_id(),
    "seen": lambda runs, _: seen(runs),
    "create, reopen and finish": lambda runs, _: begun_and_ended(runs),
    "deletion": deleted,
}


@pytest.fixture
async def file(tmp_path: Path) -> Path:
    """Such a database in a file. No checkpoint in it can be read, so none was if nothing failed."""
    path = tmp_path / "runs.sqlite"
    async with Runs.open(path) as runs:
        await runs.saver.setup()
    with closing(sqlite3.connect(path)) as connection, connection:
        insert = "INSERT INTO {} ({}) VALUES ({})".format
        connection.executemany(insert("runs", ", ".join(RUN_ROW), ", ".join("?" * 10)), run_rows())
        connection.executemany(insert("run_contexts", "run, context", "?, ?"), context_rows())
        others = ((name(number), "", "1", "msgpack", b"\xc1", b"{}") for number in range(RUNS) if number != 777)
        connection.executemany(insert("checkpoints", ", ".join(CHECKPOINT_ROW), ", ".join("?" * 6)), others)
    return path


async def watch(reader: Any, writer: Any, statement: Any, step: Any) -> None:
    """Have both connections tell of each statement and each step of the machine; of None, no more."""

    def told(connection: sqlite3.Connection) -> None:
        connection.set_trace_callback(statement)
        connection.set_progress_handler(step, 1)

    await reader.set_trace_callback(statement)
    await reader.set_progress_handler(step, 1)
    await writer.using(told)


async def test_in_a_file_no_operation_looks_at_every_run(file: Path, tmp_path: Path) -> None:
    steps: dict[str, int] = {}
    statements: list[str] = []
    async with Runs.open(file) as runs:
        reader, writer = runs.saver.conn, runs.saver.writer
        for title, operation in OPERATIONS.items():
            counter = itertools.count()
            await watch(reader, writer, statements.append, lambda counter=counter: next(counter) < 0)
            with suppress(InputError):
                await operation(runs, tmp_path)
            await watch(reader, writer, None, None)
            steps[title] = next(counter)

    assert {title: taken for title, taken in steps.items() if not 0 < taken < MOST_STEPS} == {}
    asked = [
        text for text in statements
        if text.startswith(("SELECT", "UPDATE", "DELETE", "INSERT")) and "pragma_database_list" not in text
    ]  # fmt: skip
    assert len(asked) > len(OPERATIONS)
    with closing(sqlite3.connect(file)) as connection:
        plans = {text: [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {text}")] for text in asked}
    scans = {text: plan for text, plan in plans.items() if any(line.startswith("SCAN") for line in plan)}
    assert scans == {}
    assert any("USING INDEX runs_by_short_id" in line for plan in plans.values() for line in plan)
    assert any("run_contexts_by_context" in line for plan in plans.values() for line in plan)


@pytest.fixture
async def server(postgres: str) -> str:
    """Such a database on a server."""
    async with Runs.open(postgres):
        pass
    with psycopg.connect(postgres, autocommit=True) as connection:
        for table, columns, rows in (
            ("runs", RUN_ROW, run_rows()),
            ("run_contexts", ("run", "context"), context_rows()),
            (
                "checkpoints",
                ("thread_id", "checkpoint_ns", "checkpoint_id", "checkpoint", "metadata"),
                [(name(number), "", "1", "[]", "{}") for number in range(RUNS) if number != 777],
            ),
        ):
            with connection.cursor().copy(f"COPY {table} ({', '.join(columns)}) FROM STDIN".encode()) as copy:
                for row in rows:
                    copy.write_row(row)
    return postgres


@pytest.mark.postgres
async def test_on_a_server_no_operation_looks_at_every_run(server: str, tmp_path: Path) -> None:
    read: dict[str, int] = {}
    for title, operation in OPERATIONS.items():
        before = rows_read(server)
        async with Runs.open(server) as runs:
            with suppress(InputError):
                await operation(runs, tmp_path)
        read[title] = rows_read(server) - before

    assert {title: rows for title, rows in read.items() if rows > MOST_ROWS} == {}
    assert read["get: an id"] > 0


def rows_read(address: str) -> int:
    """How many rows of our tables the server has read so far, with an index or without, by sessions that have ended."""
    with psycopg.connect(address, autocommit=True) as connection:
        # A session adds what it has read to the count before it ends.
        others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        while connection.execute(others).fetchone() != (0,):
            pass
        row = connection.execute(
            "SELECT sum(seq_tup_read) + sum(coalesce(idx_tup_fetch, 0)) FROM pg_stat_user_tables"
            " WHERE relname LIKE 'run%' OR relname LIKE 'checkpoint%'"
        ).fetchone()
        return int(row[0]) if row else 0
