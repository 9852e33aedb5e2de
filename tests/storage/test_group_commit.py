"""What the writer of an SQLite file promises: on disk when it returns, many together, and alone where one fails."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import aiosqlite
import pytest
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

from rlm_graph.storage.group_commit import GroupCommit
from rlm_graph.storage.sqlite_saver import GroupedSqliteSaver

INSERT = "INSERT INTO notes (id) VALUES (?)"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "notes.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE notes (id INTEGER PRIMARY KEY)")
    return path


@pytest.fixture
async def writer(path: Path) -> AsyncIterator[GroupCommit]:
    async with GroupCommit(path, busy_timeout_s=5) as writer:
        yield writer


def ids(path: Path) -> list[int]:
    with closing(sqlite3.connect(path)) as connection:
        return [id for (id,) in connection.execute("SELECT id FROM notes ORDER BY id")]


async def test_a_hundred_writes_at_once_take_two_transactions(writer: GroupCommit, path: Path) -> None:
    said: list[str] = []
    await writer.using(lambda connection: connection.set_trace_callback(said.append))

    assert all(await asyncio.gather(*(writer.write([(INSERT, (id,))]) for id in range(100))))

    assert said.count("COMMIT") <= 2
    assert ids(path) == [*range(100)]


async def test_what_is_written_is_there_for_everybody_when_the_write_returns(writer: GroupCommit, path: Path) -> None:
    for id in range(5):
        await writer.write([(INSERT, (id,))])
        assert ids(path)[-1] == id


async def test_a_write_that_fails_is_nobody_elses_failure_and_leaves_nothing(writer: GroupCommit, path: Path) -> None:
    await writer.write([(INSERT, (1,))])

    outcomes = await asyncio.gather(
        writer.write([(INSERT, (2,))]),
        writer.write([(INSERT, (3,)), (INSERT, (1,))]),
        writer.write([(INSERT, (4,)), ("INSERT INTO nothing VALUES (1)", ())]),
        writer.write([(INSERT, (5,))]),
        return_exceptions=True,
    )

    assert [each if isinstance(each, bool) else type(each) for each in outcomes] == [
        True, False, sqlite3.OperationalError, True,
    ]  # fmt: skip
    assert ids(path) == [1, 2, 5]


@pytest.mark.parametrize(("value", "error"), [("\ud800", UnicodeEncodeError), (1 << 70, OverflowError)])
async def test_what_the_driver_cannot_take_is_nobody_elses_failure(
    writer: GroupCommit, path: Path, value: Any, error: type[Exception]
) -> None:
    outcomes = await asyncio.gather(*(writer.write([(INSERT, (id,))]) for id in (1, value, 2)), return_exceptions=True)

    assert [each if isinstance(each, bool) else type(each) for each in outcomes] == [True, error, True]
    assert ids(path) == [1, 2]


async def test_writes_that_wait_together_for_another_process_wait_once(path: Path) -> None:
    said: list[str] = []
    async with GroupCommit(path, busy_timeout_s=0.05) as writer:
        await writer.using(lambda connection: connection.set_trace_callback(said.append))
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            outcomes = await asyncio.gather(
                *(writer.write([(INSERT, (id,))]) for id in range(10)), return_exceptions=True
            )

        assert {type(outcome) for outcome in outcomes} == {sqlite3.OperationalError}
        assert said.count("BEGIN IMMEDIATE") == 1
        assert await writer.write([(INSERT, (1,))])


async def test_a_caller_who_gives_up_holds_up_nobody(writer: GroupCommit, path: Path) -> None:
    tasks = [asyncio.create_task(writer.write([(INSERT, (id,))])) for id in range(10)]
    await asyncio.sleep(0)
    tasks[3].cancel()

    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    await writer.write([(INSERT, (10,))])

    assert isinstance(outcomes[3], asyncio.CancelledError)
    assert [outcome for index, outcome in enumerate(outcomes) if index != 3] == [True] * 9
    assert set(ids(path)) | {3} == {*range(11)}


async def test_what_waits_is_written_before_the_writer_closes(path: Path) -> None:
    async with GroupCommit(path, busy_timeout_s=5) as writer:
        tasks = [asyncio.create_task(writer.write([(INSERT, (id,))])) for id in range(3)]
        await asyncio.sleep(0)

    assert await asyncio.gather(*tasks) == [True] * 3
    assert ids(path) == [0, 1, 2]


class Savers:
    """LangGraph's saver and ours on one file."""

    def __init__(self, connection: aiosqlite.Connection, writer: GroupCommit) -> None:
        self.theirs = AsyncSqliteSaver(connection)
        self.ours = GroupedSqliteSaver(connection, writer)


@pytest.fixture
async def savers(tmp_path: Path) -> AsyncIterator[Savers]:
    path = tmp_path / "runs.sqlite"
    async with aiosqlite.connect(path) as connection, GroupCommit(path, busy_timeout_s=5) as writer:
        yield Savers(connection, writer)


async def written(saver: Any, thread: str) -> list[Any]:
    """Keep two checkpoints, the second with writes on top; return what `put` returned."""
    place: Any = {"configurable": {"thread_id": thread, "checkpoint_ns": "act:1"}}
    stored = []
    for step, id in enumerate(("1f0d0000-0000-6000-8000-000000000001", "1f0d0000-0000-6000-8000-000000000002")):
        checkpoint: Any = {**empty_checkpoint(), "id": id, "ts": "now", "channel_values": {"text": "ü", "number": step}}
        place = await saver.aput(place, checkpoint, {"source": "loop", "step": step, "said": "\ud800"}, {})
        stored.append(place)
    await saver.aput_writes(place, [("text", ["a"]), ("number", 2)], "task", "path")
    await saver.aput_writes(place, [("__interrupt__", "first")], "task")
    await saver.aput_writes(place, [("__interrupt__", "second")], "task")
    await saver.aput_writes(place, [("text", "too late")], "task", "path")
    return stored


async def read(saver: Any, thread: str) -> list[Any]:
    place: Any = {"configurable": {"thread_id": thread, "checkpoint_ns": "act:1"}}
    kept = [found async for found in saver.alist(place)]
    return [
        (each.checkpoint, each.metadata, each.pending_writes, each.parent_config, each.config)
        for each in [*kept, await saver.aget_tuple(place)]
    ]


async def test_either_saver_reads_what_the_other_has_written(savers: Savers) -> None:
    by_ours = await written(savers.ours, "a thread")
    seen = [await read(saver, "a thread") for saver in (savers.ours, savers.theirs)]
    await savers.ours.adelete_thread("a thread")
    gone = [await read_nothing(saver) for saver in (savers.ours, savers.theirs)]
    by_theirs = await written(savers.theirs, "a thread")
    seen += [await read(saver, "a thread") for saver in (savers.ours, savers.theirs)]

    assert by_ours == by_theirs
    assert seen[0] == seen[1] == seen[2] == seen[3]
    assert [value for *_, value in seen[0][0][2]] == ["second", ["a"], 2]
    assert gone == [None, None]


async def read_nothing(saver: Any) -> Any:
    return await saver.aget_tuple({"configurable": {"thread_id": "a thread", "checkpoint_ns": "act:1"}})


class TestHeldWrites:
    """What may be lost with the process waits for what its run writes next."""

    @pytest.fixture
    async def writer(self, path: Path) -> AsyncIterator[GroupCommit]:
        async with GroupCommit(path, busy_timeout_s=5, held_s=600) as writer:
            yield writer

    async def test_they_go_to_the_disk_with_the_next_write_of_their_run(self, writer: GroupCommit, path: Path) -> None:
        writer.hold([(INSERT, (1,))], run="a")
        writer.hold([(INSERT, (2,))], run="a")
        writer.hold([(INSERT, (3,))], run="b")
        await writer.write([(INSERT, (4,))], run="c")
        assert ids(path) == [4]

        await writer.write([(INSERT, (5,))], run="a")

        assert ids(path) == [1, 2, 4, 5]

    async def test_they_go_by_themselves_when_the_time_is_up_or_the_file_is_closed(self, path: Path) -> None:
        async with GroupCommit(path, busy_timeout_s=5, held_s=0) as hasty:
            hasty.hold([(INSERT, (1,))], run="a")
            async with asyncio.timeout(30):
                while not ids(path):  # another connection's
                    await asyncio.sleep(0.01)
        async with GroupCommit(path, busy_timeout_s=5, held_s=600) as patient:
            patient.hold([(INSERT, (2,))], run="a")

        assert ids(path) == [1, 2]

    async def test_what_is_held_while_its_run_writes_is_settled_too(self, writer: GroupCommit, path: Path) -> None:
        writer.hold([(INSERT, (1,))], run="a")
        writing = asyncio.create_task(writer.write([(INSERT, (2,))], run="a"))
        await asyncio.sleep(0)
        writer.hold([(INSERT, (3,))], run="a")

        await writer.settle("a")

        assert ids(path) == [1, 2, 3]
        assert await writing

    async def test_a_run_writes_nothing_after_what_was_held_of_it_was_lost(
        self, writer: GroupCommit, path: Path
    ) -> None:
        writer.hold([("INSERT INTO nothing VALUES (1)", ())], run="a")
        writer.hold([(INSERT, (1,))], run="b")
        await writer.settle()
        await writer.write([(INSERT, (2,))], run="b")
        writer.hold([(INSERT, (3,))], run="a")

        with pytest.raises(sqlite3.OperationalError, match="nothing"):
            await writer.write([(INSERT, (4,))], run="a")

        assert ids(path) == [1, 2]
        with pytest.raises(sqlite3.OperationalError, match="nothing"):  # an agent below, which has not heard of it
            await writer.write([(INSERT, (4,))], run="a")
        assert ids(path) == [1, 2]
        writer.forget("a")  # whoever takes the run up again begins anew
        await writer.write([(INSERT, (5,))], run="a")
        assert ids(path) == [1, 2, 5]

    async def test_a_run_writes_nothing_after_a_write_that_took_what_was_held_of_it_along_was_lost(
        self, writer: GroupCommit, path: Path
    ) -> None:
        writer.hold([(INSERT, (1,))], run="a")
        taking = asyncio.create_task(writer.write([("INSERT INTO nothing VALUES (1)", ())], run="a"))
        await asyncio.sleep(0)
        taking.cancel()  # so that nobody hears of it but the run
        await asyncio.wait({taking})

        with pytest.raises(sqlite3.OperationalError, match="nothing"):
            await asyncio.gather(*(writer.write([(INSERT, (2,))], run="a") for _ in range(2)))
        with pytest.raises(sqlite3.OperationalError, match="nothing"):
            await writer.write([(INSERT, (3,))], run="a")

        assert ids(path) == []

    async def test_a_write_fails_together_with_what_was_held(self, writer: GroupCommit, path: Path) -> None:
        writer.hold([("INSERT INTO nothing VALUES (1)", ())], run="a")

        with pytest.raises(sqlite3.OperationalError, match="nothing"):
            await writer.write([(INSERT, (1,))], run="a")

        assert ids(path) == []

    async def test_whoever_reads_finds_them(self, writer: GroupCommit) -> None:
        writer.hold([(INSERT, (1,))], run="a")
        assert await writer.using(lambda connection: connection.execute("SELECT count(*) FROM notes").fetchone()) == (
            1,
        )
