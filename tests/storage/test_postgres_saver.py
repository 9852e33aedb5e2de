"""What the saver for PostgreSQL promises: committed when it returns, many together, alone where one fails, readable."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import psycopg
import pytest
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.serde.types import _DeltaSnapshot

from rlm_graph import AgentOptions, LocalSettings, create_rlm_agent
from rlm_graph.executors.local import LocalExecutor
from rlm_graph.storage.lock_connections import was_lost
from rlm_graph.storage.locks import LOCK_SPACE, alocation_of, lock_run
from rlm_graph.testing import ScriptedModel

pytestmark = [pytest.mark.postgres, pytest.mark.timeout(300)]

FIRST, SECOND = "1f0d0000-0000-6000-8000-000000000001", "1f0d0000-0000-6000-8000-000000000002"
VERSIONS = {"text": f"{1:032}.a", "list": f"{1:032}.b", "gone": f"{1:032}.c", "delta": f"{1:032}.d"}


class Savers:
    """LangGraph's saver and ours on one database, and a connection that sees what is committed."""

    def __init__(self, theirs: Any, ours: Any, sent: list[list[str]], seen: psycopg.Connection[Any]) -> None:
        self.theirs, self.ours = theirs, ours
        self.sent = sent
        """The names of the statements of each round trip."""
        self.seen = seen

    def count(self, table: str) -> int:
        [(rows,)] = self.seen.execute(f"SELECT count(*) FROM {table}".encode()).fetchall()
        return int(rows)

    def transactions(self) -> int:
        """How many transactions of the writer's have been committed."""
        [(number,)] = self.seen.execute("SELECT pg_current_xact_id()::text::bigint").fetchall()
        return int(number)


@pytest.fixture
async def savers(postgres: str) -> AsyncIterator[Savers]:
    from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver

    from rlm_graph.storage.postgres_pipeline import Command, Pipeline
    from rlm_graph.storage.postgres_saver import INSERTIONS, STATEMENTS, PipelinedPostgresSaver
    from rlm_graph.storage.postgres_writer import PostgresWriter

    sent: list[list[str]] = []

    class Noted(Pipeline):
        async def run(self, commands: Sequence[Command]) -> Any:
            sent.append([statement.name for statement, _ in commands])
            return await super().run(commands)

    with psycopg.connect(postgres, autocommit=True) as seen:
        async with AsyncPostgresSaver.from_conn_string(postgres) as theirs:
            await theirs.setup()
            connection: Any = theirs.conn
            async with Noted.open(postgres, STATEMENTS) as pipeline:
                writer = PostgresWriter(pipeline, INSERTIONS)

                async def opened() -> PostgresWriter:
                    return writer

                yield Savers(theirs, PipelinedPostgresSaver(connection, opened), sent, seen)


def place_of(thread: str, **more: str) -> Any:
    return {"configurable": {"thread_id": thread, "checkpoint_ns": "act:1", **more}}


def checkpoint(id: str, **values: Any) -> Any:
    versions = {channel: VERSIONS[channel] for channel in values} | {"gone": VERSIONS["gone"]}
    return {**empty_checkpoint(), "id": id, "ts": "now", "channel_values": values, "channel_versions": versions}


async def written(saver: Any, thread: str) -> list[Any]:
    """Keep two checkpoints, the second with writes on top; return what `put` returned."""
    stored = []
    place = place_of(thread)
    for step, id in enumerate((FIRST, SECOND)):
        kept = checkpoint(id, text="ü", list=["a", {"b": b"\0"}], delta=_DeltaSnapshot(["all"]))
        new = {key: VERSIONS[key] for key in ("text", "list", "gone", "delta")}
        place = await saver.aput(place, kept, {"source": "loop", "step": step, "said": "\0ü"}, new)
        stored.append(place)
    await saver.aput_writes(place, [("text", ["a"]), ("number", 2)], "task", "path")
    await saver.aput_writes(place, [("text", "from a task before")], "a task", "path")
    await saver.aput_writes(place, [("__interrupt__", "first")], "task")
    await saver.aput_writes(place, [("__interrupt__", "second")], "task")
    await saver.aput_writes(place, [("text", "too late")], "task", "path")
    return stored


async def read(saver: Any, thread: str) -> list[Any]:
    kept = [found async for found in saver.alist(place_of(thread))]
    kept += [await saver.aget_tuple(place_of(thread, **more)) for more in ({}, {"checkpoint_id": FIRST})]
    return [
        (each.checkpoint, each.metadata, each.pending_writes, each.parent_config, each.config)
        for each in kept
    ]  # fmt: skip


async def test_either_saver_reads_what_the_other_has_written(savers: Savers) -> None:
    by_ours = await written(savers.ours, "a thread")
    seen = [await read(saver, "a thread") for saver in (savers.ours, savers.theirs)]
    await savers.ours.adelete_thread("a thread")
    gone = [await saver.aget_tuple(place_of("a thread")) for saver in (savers.ours, savers.theirs)]
    left = [savers.count(table) for table in ("checkpoints", "checkpoint_blobs", "checkpoint_writes")]
    by_theirs = await written(savers.theirs, "a thread")
    seen += [await read(saver, "a thread") for saver in (savers.ours, savers.theirs)]

    assert by_ours == by_theirs
    assert seen[0] == seen[1] == seen[2] == seen[3]
    newest = seen[0][2]
    assert [value for *_, value in newest[2]] == ["second", "from a task before", ["a"], 2]
    assert newest[0]["channel_values"] == {
        "text": "ü", "list": ["a", {"b": b"\0"}], "delta": _DeltaSnapshot(["all"]),
    }  # fmt: skip
    assert gone == [None, None]
    assert left == [0, 0, 0]


async def test_both_rebuild_the_same_history_of_channels_that_keep_changes(savers: Savers) -> None:
    """Of channels whose last value is a blob, stands in the checkpoint, is null there, or was never kept."""
    place = place_of("a thread")
    channels = ["delta", "text", "null", "list", "none"]
    steps: list[dict[str, Any]] = [
        {"list": ["a value"]}, {"text": "in the checkpoint", "null": None}, {"delta": _DeltaSnapshot(["all"])}, {}, {},
    ]  # fmt: skip
    for step, values in enumerate(steps):
        kept = checkpoint(f"1f0d0000-0000-6000-8000-00000000000{step}")
        kept |= {"channel_values": values, "channel_versions": {name: f"{step}.{name}" for name in channels}}
        place = await savers.ours.aput(place, kept, {}, {name: f"{step}.{name}" for name in values})
        for task in ("b", "a"):
            await savers.ours.aput_writes(place, [(name, f"{name} {step} {task}") for name in channels], task, task)
    savers.sent.clear()

    found = [
        [await saver.aget_delta_channel_history(config=config, channels=channels) for config in (
            place, place_of("a thread"), place_of("a thread", checkpoint_id="none"), place_of("another"),
        )]
        for saver in (savers.ours, savers.theirs)
    ]  # fmt: skip

    ours, theirs = found
    assert ours == theirs
    assert ours[0] == ours[1]
    assert {name: each.get("seed") for name, each in ours[0].items()} == {
        "delta": _DeltaSnapshot(["all"]), "text": "in the checkpoint", "null": None, "list": ["a value"], "none": None,
    }  # fmt: skip
    assert [value for *_, value in ours[0]["delta"]["writes"]] == ["delta 2 a", "delta 2 b", "delta 3 a", "delta 3 b"]
    assert savers.sent == [["rlm_graph_history"]] * 4  # one round trip each


async def test_a_version_comes_after_those_of_langgraph_and_no_two_are_the_same(savers: Savers) -> None:
    theirs = savers.theirs.get_next_version(None, None)
    ours = savers.ours.get_next_version(theirs, None)
    again = savers.theirs.get_next_version(ours, None)

    assert theirs < ours < again
    assert len(ours) < len(theirs)
    assert len({savers.ours.get_next_version(again, None) for _ in range(100)}) == 100


async def test_what_is_kept_is_committed_when_the_call_returns(savers: Savers) -> None:
    place = place_of("a thread")
    for step in range(3):
        place = await savers.ours.aput(place, checkpoint(f"{step}", list=[step]), {}, {"list": f"{step}"})
        assert (savers.count("checkpoints"), savers.count("checkpoint_blobs")) == (step + 1, step + 1)
        await savers.ours.aput_writes(place, [("x", 1), ("y", 2)], "task")
        assert savers.count("checkpoint_writes") == 2 * (step + 1)


async def test_what_fifty_runs_write_at_once_takes_two_transactions_and_round_trips(savers: Savers) -> None:
    before = savers.transactions()
    savers.sent.clear()

    await asyncio.gather(
        *(
            savers.ours.aput_writes(place_of(f"run {run}", checkpoint_id=FIRST), [("x", run)], "task")
            for run in range(50)
        ),
        *(savers.ours.aput(place_of(f"run {run}"), checkpoint(FIRST, list=[run]), {}, VERSIONS) for run in range(50)),
    )

    # A number is given to each transaction that writes, and to each look at them.
    assert savers.transactions() - before - 1 <= 2
    assert len(savers.sent) <= 2
    assert max(map(len, savers.sent)) <= 3  # a statement for each table, however many rows
    for run in range(50):
        kept = await savers.ours.aget_tuple(place_of(f"run {run}"))
        assert kept.checkpoint["channel_values"] == {"list": [run]}
        assert [value for *_, value in kept.pending_writes] == [run]


async def test_a_value_that_the_server_refuses_is_nobody_elses_failure_and_leaves_nothing(savers: Savers) -> None:
    refused = checkpoint(FIRST, list=["kept"], text="no \0 in JSON")

    outcomes = await asyncio.gather(
        savers.ours.aput_writes(place_of("a", checkpoint_id=FIRST), [("x", 1)], "task"),
        savers.ours.aput(place_of("b"), refused, {}, VERSIONS),
        savers.ours.aput_writes(place_of("c", checkpoint_id=FIRST), [("x", 1)], "no \0 in a text"),
        savers.ours.aput_writes(place_of("d", checkpoint_id=FIRST), [("x", 1)], "\ud800"),
        savers.ours.aput(place_of("e"), checkpoint(FIRST, list=["kept"]), {}, VERSIONS),
        return_exceptions=True,
    )

    kinds = [type(each) for each in outcomes]
    assert issubclass(kinds[1], psycopg.DataError)
    assert issubclass(kinds[2], psycopg.DataError)
    assert kinds[3] is UnicodeEncodeError
    assert outcomes[0] is None
    assert isinstance(outcomes[4], dict)
    assert savers.seen.execute("SELECT thread_id FROM checkpoints").fetchall() == [("e",)]
    assert savers.seen.execute("SELECT thread_id FROM checkpoint_blobs").fetchall() == [("e",)]
    assert savers.seen.execute("SELECT thread_id FROM checkpoint_writes").fetchall() == [("a",)]


async def test_of_what_is_written_twice_in_one_transaction_the_right_one_stays(savers: Savers) -> None:
    place = place_of("a thread", checkpoint_id=FIRST)
    said: Sequence[tuple[str, Any]] = [
        ("x", "first"), ("__error__", "replaced"), ("x", "second"), ("__error__", "stays"),
    ]  # fmt: skip

    await asyncio.gather(
        *(savers.ours.aput_writes(place, [write], "task") for write in said),
        *(savers.ours.aput(place_of("a thread"), checkpoint(FIRST, text=text), {}, {}) for text in ("old", "new")),
    )

    kept = await savers.ours.aget_tuple(place_of("a thread"))
    assert [value for *_, value in kept.pending_writes] == ["stays", "first"]
    assert kept.checkpoint["channel_values"] == {"text": "new"}


async def test_a_caller_who_gives_up_holds_up_nobody(savers: Savers) -> None:
    tasks = [
        asyncio.create_task(savers.ours.aput_writes(place_of("a", checkpoint_id=FIRST), [("x", n)], f"task {n}"))
        for n in range(10)
    ]
    await asyncio.sleep(0)
    tasks[3].cancel()

    outcomes = await asyncio.gather(*tasks, return_exceptions=True)

    assert isinstance(outcomes[3], asyncio.CancelledError)
    assert [outcome for index, outcome in enumerate(outcomes) if index != 3] == [None] * 9
    await savers.ours.aput_writes(place_of("a", checkpoint_id=FIRST), [("x", 10)], "task 10")
    assert savers.count("checkpoint_writes") in (10, 11)


async def test_what_is_larger_than_a_socket_takes_is_kept_whole(savers: Savers) -> None:
    large = [bytes([n]) * (30 << 20) for n in range(2)]

    await asyncio.gather(
        *(savers.ours.aput_writes(place_of("a", checkpoint_id=FIRST), [("x", each)], f"task {n}")
          for n, each in enumerate(large)),
        savers.ours.aput(place_of("a"), checkpoint(FIRST, list=[large[0]]), {}, VERSIONS),
    )  # fmt: skip
    kept = await savers.ours.aget_tuple(place_of("a"))

    assert [value for *_, value in kept.pending_writes] == large
    assert kept.checkpoint["channel_values"]["list"] == [large[0]]


async def test_a_connection_that_is_lost_fails_all_who_wait_and_all_who_come_later(savers: Savers) -> None:
    def written() -> Any:
        return savers.ours.aput_writes(place_of("a", checkpoint_id=FIRST), [("x", 1)], "task")

    await written()
    savers.seen.execute("BEGIN")
    savers.seen.execute("LOCK TABLE checkpoint_writes IN ACCESS EXCLUSIVE MODE")
    waiting = [asyncio.create_task(written()) for _ in range(3)]
    [(server,)] = savers.seen.execute(
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'INSERT INTO checkpoint_w%'"
    ).fetchall()
    while savers.seen.execute("SELECT 1 FROM pg_locks WHERE NOT granted AND pid = %s", (server,)).fetchone() is None:
        await asyncio.sleep(0.01)
    savers.seen.execute("SELECT pg_terminate_backend(%s)", (server,))

    async with asyncio.timeout(60):
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    savers.seen.execute("ROLLBACK")

    assert [isinstance(outcome, psycopg.OperationalError) for outcome in outcomes] == [True] * 3
    with pytest.raises(psycopg.OperationalError, match="the connection was lost"):
        await written()
    assert savers.count("checkpoint_writes") == 1


async def test_a_process_records_nothing_of_a_run_whose_lock_the_server_has_taken_from_it(savers: Savers) -> None:
    place = await alocation_of(savers.ours)
    with lock_run(place, "mine"), lock_run(place, "another"):
        await savers.ours.aput_writes(place_of("mine", checkpoint_id=FIRST), [("x", 1)], "task")
        savers.seen.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND classid = %s", (LOCK_SPACE,)
        )
        async with asyncio.timeout(60):
            while not was_lost(place.name, "mine"):
                await asyncio.sleep(0.01)

        for run in ("mine", "another"):
            with pytest.raises(psycopg.OperationalError, match="is not held by this process any more"):
                await savers.ours.aput_writes(place_of(run, checkpoint_id=FIRST), [("x", 2)], "next")
        with lock_run(place, "a third"):
            await savers.ours.aput_writes(place_of("a third", checkpoint_id=FIRST), [("x", 3)], "task")
    with lock_run(place, "mine"):
        await savers.ours.aput_writes(place_of("mine", checkpoint_id=FIRST), [("x", 4)], "again")

    assert savers.count("checkpoint_writes") == 3


async def test_a_read_is_one_round_trip_of_one_statement(savers: Savers) -> None:
    await written(savers.ours, "a thread")
    savers.sent.clear()

    await savers.ours.aget_tuple(place_of("a thread"))
    await savers.ours.aget_tuple(place_of("a thread", checkpoint_id=FIRST))

    assert savers.sent == [["rlm_graph_get_newest"], ["rlm_graph_get"]]


@pytest.mark.confinement
async def test_a_turn_is_written_in_a_few_transactions_however_many_went_before(savers: Savers, tmp_path: Path) -> None:
    async def transactions(turns: int) -> int:
        savers.sent.clear()
        replies = [f"```repl\nx = {number}\n```" for number in range(turns - 1)]
        agent = create_rlm_agent(
            ScriptedModel([*replies, "```repl\nFINAL('ok')\n```"]),
            checkpointer=savers.ours,
            executor=LocalExecutor(LocalSettings(idle_timeout_s=30), folder=tmp_path / "repls"),
            budget={"max_turns": turns},
            options=AgentOptions(contexts=tmp_path / "contexts"),
        )
        result = await agent.ainvoke({"question": "Go."}, {"configurable": {"thread_id": f"of {turns} turns"}})
        assert result["answer"].value == "ok"
        return len(savers.sent)

    few, more, most = [await transactions(turns) for turns in (2, 5, 8)]

    # Of each of three steps, what its task wrote and its checkpoint; some are on their way when the next comes.
    assert max(more - few, most - more) <= 3 * 7
