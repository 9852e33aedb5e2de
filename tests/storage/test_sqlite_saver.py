"""What our saver for SQLite promises of its own: what may wait for the disk and what may not, and its versions."""

from __future__ import annotations

import itertools
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

PLACE: Any = {"configurable": {"thread_id": "a run", "checkpoint_ns": "act:1"}}
ON_TOP: Any = {"configurable": {**PLACE["configurable"], "checkpoint_id": "1"}}


@pytest.fixture
async def saver(tmp_path: Path) -> AsyncIterator[GroupedSqliteSaver]:
    """The saver, which holds what it may hold for as long as the test takes."""
    path = tmp_path / "runs.sqlite"
    async with (
        aiosqlite.connect(path) as connection,
        GroupCommit(path, busy_timeout_s=5, held_s=600) as writer,
    ):
        saver = GroupedSqliteSaver(connection, writer)
        await saver.setup()
        yield saver


def rows(folder: Path, table: str) -> int:
    """Count what is on disk, for everybody to see."""
    with closing(sqlite3.connect(folder / "runs.sqlite")) as another:
        (count,) = another.execute(f"SELECT count(*) FROM {table}").fetchone()
    return int(count)


async def put(saver: GroupedSqliteSaver) -> None:
    await saver.aput(PLACE, {**empty_checkpoint(), "id": "2"}, {"step": 1}, {})


async def test_a_step_that_can_be_taken_again_waits_for_the_disk_with_its_checkpoint(
    saver: GroupedSqliteSaver, tmp_path: Path
) -> None:
    saver.expect("task", "repeatable")
    await saver.aput_writes(ON_TOP, [("turns", 1)], "task")
    await put(saver)
    assert (rows(tmp_path, "writes"), rows(tmp_path, "checkpoints")) == (0, 0)

    await put(saver)  # the next step's, of which nothing was said

    assert (rows(tmp_path, "writes"), rows(tmp_path, "checkpoints")) == (1, 1)


async def test_a_step_that_must_be_there_as_a_whole_is_there_with_its_checkpoint(
    saver: GroupedSqliteSaver, tmp_path: Path
) -> None:
    saver.expect("task", "whole")
    await saver.aput_writes(ON_TOP, [("turns", 1)], "task")
    assert rows(tmp_path, "writes") == 0

    await put(saver)

    assert (rows(tmp_path, "writes"), rows(tmp_path, "checkpoints")) == (1, 1)


async def test_what_was_announced_of_one_task_is_not_said_of_another(saver: GroupedSqliteSaver, tmp_path: Path) -> None:
    saver.expect("task", "repeatable")

    await saver.aput_writes(ON_TOP, [("turns", 1)], "another task")

    assert rows(tmp_path, "writes") == 1


@pytest.mark.parametrize("channel", ["__interrupt__", "__error__"])
async def test_what_ends_a_step_is_on_disk_at_once_whatever_was_announced(
    saver: GroupedSqliteSaver, tmp_path: Path, channel: str
) -> None:
    saver.expect("task", "repeatable")

    await saver.aput_writes(ON_TOP, [(channel, "why")], "task")
    assert rows(tmp_path, "writes") == 1
    await put(saver)

    assert rows(tmp_path, "checkpoints") == 1


async def test_what_a_cancelled_step_announced_is_not_said_of_the_next_one(
    saver: GroupedSqliteSaver, tmp_path: Path
) -> None:
    saver.expect("task", "repeatable")
    await saver.aput_writes(ON_TOP, [("turns", 1)], "task")
    await saver.settle("a run")
    assert rows(tmp_path, "writes") == 1

    await put(saver)

    assert rows(tmp_path, "checkpoints") == 1


async def test_the_end_of_one_run_is_not_that_of_another(saver: GroupedSqliteSaver, tmp_path: Path) -> None:
    saver.expect("task", "repeatable")
    await saver.aput_writes(ON_TOP, [("turns", 1)], "task")
    await saver.settle("another run")

    await put(saver)

    assert (rows(tmp_path, "writes"), rows(tmp_path, "checkpoints")) == (0, 0)


async def test_a_deleted_run_is_gone_at_once_with_what_was_held_of_it(
    saver: GroupedSqliteSaver, tmp_path: Path
) -> None:
    await put(saver)
    saver.expect("task", "repeatable")
    await saver.aput_writes(ON_TOP, [("turns", 1)], "task")

    await saver.adelete_thread("a run")

    assert (rows(tmp_path, "writes"), rows(tmp_path, "checkpoints")) == (0, 0)
    await saver.settle("a run")
    assert rows(tmp_path, "writes") == 0


@pytest.mark.parametrize("first", ["read", "write"])
async def test_a_file_without_tables_gets_them_with_the_first_use(tmp_path: Path, first: str) -> None:
    path = tmp_path / "runs.sqlite"
    async with aiosqlite.connect(path) as connection, GroupCommit(path, busy_timeout_s=5) as writer:
        saver = GroupedSqliteSaver(connection, writer)
        if first == "write":
            await put(saver)
        found = await saver.aget_tuple(PLACE)

    assert (found is not None) == (first == "write")


async def test_each_version_comes_after_the_one_before_it(saver: GroupedSqliteSaver) -> None:
    versions: list[str] = [saver.get_next_version(None, None)]
    for _ in range(12):
        versions.append(saver.get_next_version(versions[-1], None))
    many = "+999998"
    for _ in range(4):
        versions.append(many)
        many = saver.get_next_version(many, None)

    assert all(before < after for before, after in itertools.pairwise(versions))
    assert {len(version) for version in versions[:14]} == {7}


async def test_versions_go_on_from_those_of_langgraphs_own_saver_and_it_from_ours(saver: GroupedSqliteSaver) -> None:
    theirs = AsyncSqliteSaver(saver.conn)
    first = saver.get_next_version(None, None)

    second = theirs.get_next_version(first, None)  # type: ignore[arg-type]  # a version is any text
    third = saver.get_next_version(str(second), None)
    fourth = theirs.get_next_version(third, None)  # type: ignore[arg-type]  # as above
    last = saver.get_next_version(str(fourth), None)

    assert [first, second, third, fourth, last] == sorted({first, str(second), third, str(fourth), last})
