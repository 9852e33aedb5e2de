"""LangGraph's saver for SQLite, with writes that cost less."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import aiosqlite
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    WRITES_IDX_MAP,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    DeltaChannelHistory,
    get_checkpoint_id,
    get_checkpoint_metadata,
)
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.checkpoint.sqlite.utils import load_pending_writes, pending_writes_sql

from rlm_graph.storage.database import Statement
from rlm_graph.storage.group_commit import GroupCommit
from rlm_graph.storage.step_records import StepRecord

if TYPE_CHECKING:
    from langgraph.checkpoint.serde.base import SerializerProtocol

_PUT = (
    "INSERT OR REPLACE INTO checkpoints"
    " (thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id, type, checkpoint, metadata)"
    " VALUES (?, ?, ?, ?, ?, ?, ?)"
)
_WRITE = (
    "INSERT OR {} INTO writes"
    " (thread_id, checkpoint_ns, checkpoint_id, task_id, task_path, idx, channel, type, value)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_GET = (
    "SELECT checkpoint_id, parent_checkpoint_id, type, checkpoint, metadata FROM checkpoints"
    " WHERE thread_id = ? AND checkpoint_ns = ?"
)


_DELETE = ("DELETE FROM checkpoints WHERE thread_id = ?", "DELETE FROM writes WHERE thread_id = ?")


class GroupedSqliteSaver(AsyncSqliteSaver):
    """Keeps the same rows in the same tables: either saver reads what the other has written.

    LangGraph's own goes to its thread and back for each statement, and to the disk for each call.

    What a task writes goes to the disk before `aput_writes` returns, and a checkpoint before `aput` does, but for the
    tasks that were announced by `expect`: see `StepRecord`.
    """

    def __init__(
        self, connection: aiosqlite.Connection, writer: GroupCommit, *, serde: SerializerProtocol | None = None
    ) -> None:
        super().__init__(connection, serde=serde)
        self.writer = writer
        """Does all its writing."""
        self._expected: dict[str, StepRecord] = {}
        """By the task's id."""
        self._ending: dict[tuple[str, str], StepRecord] = {}
        """How the next checkpoint is to be kept, by thread and namespace."""

    def expect(self, task: str, record: StepRecord) -> None:
        """Say how what the task will write is to be kept: the only task of its step, from whatever thread."""
        self._expected[task] = record

    async def settle(self, thread: str) -> None:
        """Have all on disk that was given so far of the thread, whose stream has ended."""
        # A step that was cancelled has no checkpoint: what it announced must not be said of the next one.
        for key in [key for key in self._ending if key[0] == thread]:
            del self._ending[key]
        try:
            await self.writer.settle(thread)
        finally:
            self.writer.forget(thread)

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Return a checkpoint, by default the newest of its namespace, with what was written on top of it."""
        if not self.is_setup:
            await self.setup()
        place = config["configurable"]
        thread, namespace = str(place["thread_id"]), place.get("checkpoint_ns", "")
        asked = get_checkpoint_id(config)
        found = await self.writer.using(lambda connection: _read(connection, thread, namespace, asked), run=thread)
        if found is None:
            return None
        (id, parent, kind, kept, described), writes = found

        def at(checkpoint: str) -> RunnableConfig:
            there = {"thread_id": thread, "checkpoint_ns": namespace, "checkpoint_id": checkpoint}
            return {"configurable": there}

        return CheckpointTuple(
            config if asked else at(id),
            self.serde.loads_typed((kind, kept)),
            json.loads(described) if described is not None else {},
            at(parent) if parent else None,
            load_pending_writes(writes, self.serde),
        )

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Keep a checkpoint; it is on disk when this returns, unless its step can be taken again."""
        place = config["configurable"]
        thread, namespace = str(place["thread_id"]), place["checkpoint_ns"]
        kind, kept = self.serde.dumps_typed(checkpoint)
        described = json.dumps(get_checkpoint_metadata(config, metadata), ensure_ascii=False)
        row = (
            thread, namespace, checkpoint["id"], place.get("checkpoint_id"), kind, kept,
            described.encode("utf-8", "ignore"),
        )  # fmt: skip
        can_wait = self._ending.pop((thread, namespace), None) == "repeatable"
        await self._write([(_PUT, row)], thread, can_wait=can_wait)
        return {
            "configurable": {
                "thread_id": place["thread_id"],
                "checkpoint_ns": place["checkpoint_ns"],
                "checkpoint_id": checkpoint["id"],
            }
        }

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Keep what a task has written; it is on disk when this returns, unless it was announced by `expect`."""
        place = config["configurable"]
        # What has a number of its own, such as an error or an interrupt, takes the place of an earlier one.
        statement = _WRITE.format("REPLACE" if all(channel in WRITES_IDX_MAP for channel, _ in writes) else "IGNORE")
        thread, namespace, checkpoint = (str(place[key]) for key in ("thread_id", "checkpoint_ns", "checkpoint_id"))
        rows = [
            (
                thread, namespace, checkpoint, task_id, task_path, WRITES_IDX_MAP.get(channel, index), channel,
                *self.serde.dumps_typed(value),
            )
            for index, (channel, value) in enumerate(writes)
        ]  # fmt: skip
        record = self._expected.pop(task_id, None)
        # An error or an interrupt ends the step: no checkpoint follows.
        can_wait = record is not None and not any(channel in WRITES_IDX_MAP for channel, _ in writes)
        if record is not None and can_wait:
            self._ending[thread, namespace] = record
        await self._write([(statement, row) for row in rows], thread, can_wait=can_wait)

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        """Yield checkpoints; see LangGraph."""
        await self.writer.settle()
        async for kept in super().alist(config, filter=filter, before=before, limit=limit):
            yield kept

    async def aget_delta_channel_history(
        self, *, config: RunnableConfig, channels: Sequence[str]
    ) -> Mapping[str, DeltaChannelHistory]:
        """Return what leads to the values of channels; see LangGraph."""
        await self.writer.settle(str(config["configurable"]["thread_id"]))
        return await super().aget_delta_channel_history(config=config, channels=channels)

    async def adelete_thread(self, thread_id: str) -> None:
        """Remove all checkpoints and writes of a thread."""
        thread = (str(thread_id),)
        await self._write([(statement, thread) for statement in _DELETE], *thread)

    def get_next_version(self, current: str | None, channel: None) -> str:
        """Return the version of a channel that follows `current`, shorter than LangGraph's own, and later by order.

        A checkpoint names some thirty, of which LangGraph's take 50 bytes each. The plus sign has the short form come
        before all of LangGraph's, which begin with a digit: a thread that its saver has gone on with stays with its
        form. The digits at the end of these, drawn by lot, tell apart versions of blobs that lie in a table of their
        own: not here.
        """
        before = "" if current is None else str(current)
        number = int(before.partition(".")[0] or 0) + 1
        return f"+{number:06}" if before[:1] in ("", "+") and number < 1_000_000 else f"{number:032}"

    async def _write(self, statements: Sequence[Statement], thread: str, *, can_wait: bool = False) -> None:
        if not self.is_setup:
            await self.setup()
        if can_wait:
            self.writer.hold(statements, run=thread)
        else:
            await self.writer.write(statements, run=thread)


def _read(
    connection: sqlite3.Connection, thread: str, namespace: str, checkpoint: str | None
) -> tuple[Any, list[Any]] | None:
    """Return the row of a checkpoint, and the rows that were written on top of it."""
    if checkpoint:
        found = connection.execute(f"{_GET} AND checkpoint_id = ?", (thread, namespace, checkpoint)).fetchone()
    else:
        found = connection.execute(f"{_GET} ORDER BY checkpoint_id DESC LIMIT 1", (thread, namespace)).fetchone()
    if found is None:
        return None
    writes = connection.execute(pending_writes_sql(has_task_path=True), (thread, namespace, found[0])).fetchall()
    return found, writes
