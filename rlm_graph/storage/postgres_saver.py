"""LangGraph's saver for PostgreSQL, with reads and writes that cost less."""

from __future__ import annotations

import base64
import json
import os
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import psycopg
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    WRITES_IDX_MAP,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    DeltaChannelHistory,
    get_checkpoint_id,
    get_serializable_checkpoint_metadata,
)
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.checkpoint.serde.types import _DeltaSnapshot

from rlm_graph.storage.lock_connections import was_lost
from rlm_graph.storage.locks import location_on_server
from rlm_graph.storage.postgres_history import HISTORY, history
from rlm_graph.storage.postgres_pipeline import Pipeline, Prepared
from rlm_graph.storage.postgres_writer import Insertion, PostgresWriter, Put, array

if TYPE_CHECKING:
    from langgraph.checkpoint.serde.base import SerializerProtocol
    from psycopg.pq.abc import PGresult

_NAMESPACE = (("thread_id", "text"), ("checkpoint_ns", "text"))
_BLOBS = Insertion(
    "checkpoint_blobs", (*_NAMESPACE, ("channel", "text"), ("version", "text"), ("type", "text"), ("blob", "bytea")), 4
)
_CHECKPOINTS = Insertion(
    "checkpoints",
    (
        *_NAMESPACE, ("checkpoint_id", "text"), ("parent_checkpoint_id", "text"), ("checkpoint", "jsonb"),
        ("metadata", "jsonb"),
    ),
    3,
    replacing=("checkpoint", "metadata"),
)  # fmt: skip
_OF_WRITES = (
    *_NAMESPACE, ("checkpoint_id", "text"), ("task_id", "text"), ("idx", "int4"), ("task_path", "text"),
    ("channel", "text"), ("type", "text"), ("blob", "bytea"),
)  # fmt: skip
_WRITES = Insertion("checkpoint_writes", _OF_WRITES, 5)
_SPECIAL_WRITES = Insertion("checkpoint_writes", _OF_WRITES, 5, replacing=("channel", "type", "blob"))
INSERTIONS = (_BLOBS, _CHECKPOINTS, _WRITES, _SPECIAL_WRITES)

_FOUND = """
WITH found AS (
    SELECT thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id, checkpoint, metadata FROM checkpoints
    WHERE thread_id = $1::text AND checkpoint_ns = $2::text {which}
)
SELECT 'c', checkpoint_id, parent_checkpoint_id, checkpoint::text, convert_to(metadata::text, 'UTF8'), NULL, NULL
FROM found
UNION ALL
SELECT 'b', blobs.channel, NULL, blobs.type, blobs.blob, NULL, NULL
FROM found CROSS JOIN LATERAL jsonb_each_text(found.checkpoint -> 'channel_versions') AS version
JOIN checkpoint_blobs AS blobs ON blobs.thread_id = $1::text AND blobs.checkpoint_ns = $2::text
    AND blobs.channel = version.key AND blobs.version = version.value
WHERE blobs.type <> 'empty'
UNION ALL
SELECT 'w', writes.channel, writes.task_id, writes.type, writes.blob, writes.task_path, writes.idx::text
FROM found JOIN checkpoint_writes AS writes ON writes.thread_id = $1::text AND writes.checkpoint_ns = $2::text
    AND writes.checkpoint_id = found.checkpoint_id
"""
"""A checkpoint, its blobs and what was written on top of it: seven columns, of which the first says what a row is."""
_GET = Prepared("rlm_graph_get", _FOUND.format(which="AND checkpoint_id = $3::text"))
_GET_NEWEST = Prepared("rlm_graph_get_newest", _FOUND.format(which="ORDER BY checkpoint_id DESC LIMIT 1"))

_DELETIONS = [
    Prepared(f"rlm_graph_delete_{table}", f"DELETE FROM {table} WHERE thread_id = $1::text")  # noqa: S608 - literals
    for table in ("checkpoints", "checkpoint_blobs", "checkpoint_writes")
]
STATEMENTS = (*(insertion.statement for insertion in INSERTIONS), _GET, _GET_NEWEST, HISTORY, *_DELETIONS)
"""What a pipeline of this saver's has prepared."""

_VERSION_BYTES = 6
"""Drawn by lot at the end of a version: runs that part at a step give what they write there versions of one number."""


class PipelinedPostgresSaver(AsyncPostgresSaver):
    """Keeps the same rows in the same tables: either saver reads what the other has written.

    LangGraph's own hands each value to a thread to encode it, and has a round trip and a transaction for each call.
    """

    def __init__(
        self,
        connection: psycopg.AsyncConnection[Any],
        writer: Callable[[], Awaitable[PostgresWriter]],
        *,
        serde: SerializerProtocol | None = None,
    ) -> None:
        super().__init__(connection, serde=serde)
        self._writer = writer
        """Opens what it reads and writes by, the first time; `connection` is for all that is seldom."""
        self._conninfo: str | None = None

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Return a checkpoint, by default the newest of its namespace, with what was written on top of it."""
        place = config["configurable"]
        thread, namespace = str(place["thread_id"]), place.get("checkpoint_ns", "")
        asked = get_checkpoint_id(config)
        values = _texts(thread, namespace, asked) if asked else _texts(thread, namespace)
        writer = await self._writer()
        [result] = await writer.pipeline.run([(_GET if asked else _GET_NEWEST, values)])
        found: tuple[Any, ...] | None = None
        blobs: list[Any] = []
        writes: list[Any] = []
        for row in _rows(result):
            match row[0]:
                case b"c":
                    found = row
                case b"b":
                    blobs.append((row[1], row[3], row[4]))
                case _:
                    writes.append((row[2], row[1], row[3], row[4], row[5], row[6]))
        if found is None:
            return None
        id, parent, kept, described = found[1:5]
        checkpoint: Any = json.loads(kept)
        if parent is not None and checkpoint["v"] < 4:  # of an earlier LangGraph, with more to be read
            return await super().aget_tuple(config)
        checkpoint["channel_values"] = {**(checkpoint.get("channel_values") or {}), **self._load_blobs(blobs)}

        def at(checkpoint: bytes) -> RunnableConfig:
            there = {"thread_id": thread, "checkpoint_ns": namespace, "checkpoint_id": checkpoint.decode()}
            return {"configurable": there}

        return CheckpointTuple(
            at(id),
            checkpoint,
            json.loads(described),
            at(parent) if parent else None,
            self._load_writes(writes),
        )

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Keep a checkpoint; it is on disk when this returns."""
        place = config["configurable"]
        where = (str(place["thread_id"]), place["checkpoint_ns"])
        inline: dict[str, Any] = {}
        rows: list[Put] = []
        for channel, value in checkpoint["channel_values"].items():
            if value is None or isinstance(value, str | int | float | bool):
                inline[channel] = value
                continue
            if isinstance(value, _DeltaSnapshot):
                inline[channel] = True
            if (version := new_versions.get(channel)) is not None:
                kind, blob = self.serde.dumps_typed(value)
                rows.append((_BLOBS, (*_texts(*where, channel, str(version), kind), blob)))
        kept = json.dumps({**checkpoint, "channel_values": inline})
        described = json.dumps(get_serializable_checkpoint_metadata(config, metadata))
        row = _texts(*where, checkpoint["id"], place.get("checkpoint_id"), kept, described)
        writer = await self._writer()
        self._check_held(where[0])
        await writer.write([*rows, (_CHECKPOINTS, row)])
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
        """Keep what a task has written; it is on disk when this returns."""
        place = config["configurable"]
        # What has a number of its own, such as an error or an interrupt, takes the place of an earlier one.
        insertion = _SPECIAL_WRITES if all(channel in WRITES_IDX_MAP for channel, _ in writes) else _WRITES
        where = _texts(*(str(place[key]) for key in ("thread_id", "checkpoint_ns", "checkpoint_id")), task_id)
        rows: list[Put] = []
        for index, (channel, value) in enumerate(writes):
            kind, blob = self.serde.dumps_typed(value)
            number = struct.pack(">i", WRITES_IDX_MAP.get(channel, index))
            rows.append((insertion, (*where, number, *_texts(task_path, channel, kind), blob)))
        writer = await self._writer()
        self._check_held(str(place["thread_id"]))
        await writer.write(rows)

    def _check_held(self, run: str) -> None:
        """Raise `psycopg.OperationalError` where the server has taken from this process a run that it holds."""
        if self._conninfo is None:
            self._conninfo = location_on_server(self.conn).name
        if was_lost(self._conninfo, run):
            raise psycopg.OperationalError(
                f"run {run} is not held by this process any more: the server has ended the connection for its lock, "
                "and another process may be at work on it"
            )

    async def adelete_thread(self, thread_id: str) -> None:
        """Remove all checkpoints, blobs and writes of a thread."""
        writer = await self._writer()
        await writer.pipeline.run([(statement, _texts(str(thread_id))) for statement in _DELETIONS])

    async def aget_delta_channel_history(
        self, *, config: RunnableConfig, channels: Sequence[str]
    ) -> Mapping[str, DeltaChannelHistory]:
        """Return, for each channel, what was written since the checkpoint that holds a value of it, and that value."""
        place = config["configurable"]
        thread, namespace = str(place["thread_id"]), place.get("checkpoint_ns", "")
        asked = get_checkpoint_id(config) or None
        writer = await self._writer()
        names = array("text", _texts(*channels))
        [result] = await writer.pipeline.run([(HISTORY, (*_texts(thread, namespace, asked), names))])
        return self._build_delta_channels_writes_history(
            channels=channels, **history(_rows(result), channels)._asdict()
        )

    def get_next_version(self, current: str | None, channel: None) -> str:
        """Return the version of a channel that follows `current`, shorter than LangGraph's own, and later by order."""
        before = 0 if current is None else int(str(current).partition(".")[0])
        return f"{before + 1:032}.{base64.urlsafe_b64encode(os.urandom(_VERSION_BYTES)).decode()}"


@asynccontextmanager
async def open_writer(address: str) -> AsyncIterator[PostgresWriter]:
    """Connect to a server whose tables are there, for one or several savers. What waits at the end is written."""
    async with Pipeline.open(address, STATEMENTS) as pipeline:
        writer = PostgresWriter(pipeline, INSERTIONS)
        try:
            yield writer
        finally:
            await writer.end()


def _texts(*texts: str | None) -> tuple[bytes | None, ...]:
    return tuple(None if text is None else text.encode() for text in texts)


def _rows(result: PGresult) -> Iterator[tuple[Any, ...]]:
    columns = range(result.nfields)
    for row in range(result.ntuples):
        yield tuple(result.get_value(row, column) for column in columns)
