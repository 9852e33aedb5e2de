"""What is recorded of the calls of an act: each is a checkpoint under its own name, and a write on it for each answer.

Calls that run as recorded graphs, as agents below do, leave the same behind, by LangGraph's hand.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from langgraph.checkpoint.base import empty_checkpoint

from rlm_graph.calls.arrivals import RecordedCall
from rlm_graph.executors.sandbox.readings import Readings
from rlm_graph.langgraph_internals import allowing, checkpoint_config, joined, name_below, namespace_of, namespace_parts
from rlm_graph.state import STORED_TYPES, SubcallReply

if TYPE_CHECKING:
    from langchain_core.runnables import RunnableConfig
    from langgraph.checkpoint.base import BaseCheckpointSaver, CheckpointTuple

ACT = "rlm_act"
"""Key in the metadata of a call's record, for the namespace of the act that made the call."""
CELL = "rlm_cell"
"""Key in the metadata of a call's record, for the number of the cell whose code waits for the answer."""
AGENTS = "rlm_agents"
"""Key in the metadata of a call's record, for the names of the specialists that were asked, separated by commas."""

CallKind = Literal["ask", "call", "recurse"]
"""The node that meets the requests of a call: see `graphs/subcall.py`."""


@dataclass(frozen=True)
class Record:
    """What is recorded of one call."""

    name: str
    cell: int | None
    agents: tuple[str, ...]
    count: int
    """Of its requests."""
    replies: Mapping[int, SubcallReply]
    """To those that were answered."""
    by_graph: bool
    """Whether a graph recorded it, that goes on from there."""

    @property
    def call(self) -> RecordedCall:
        """How far the call has come."""
        last = max((reply.arrival for reply in self.replies.values()), default=0)
        return RecordedCall(self.count, len(self.replies), last)

    @property
    def readings(self) -> Readings:
        """What the answers tell of clocks."""
        return {name: values for reply in self.replies.values() for name, values in reply.readings.items()}

    @classmethod
    def of(cls, name: str, kept: CheckpointTuple) -> Record:
        """Read a checkpoint and what was written on it since."""
        values = kept.checkpoint["channel_values"]
        replies: dict[int, SubcallReply] = dict(values.get("replies", {}))
        for _, channel, written in kept.pending_writes or ():
            if channel == "replies":
                replies |= written
        cell = kept.metadata.get(CELL)
        return cls(
            name,
            cell if isinstance(cell, int) else None,
            tuple(filter(None, str(kept.metadata.get(AGENTS, "")).split(","))),
            values["count"],
            replies,
            kept.metadata.get("source") != "update",
        )


async def records(saver: BaseCheckpointSaver[Any], thread: str, act: str) -> AsyncIterator[Record]:
    """Yield what is recorded of the calls of the act of that namespace."""
    thread_config: RunnableConfig = {"configurable": {"thread_id": thread}}
    seen: set[str] = set()
    async for kept in allowing(saver, STORED_TYPES).alist(thread_config, filter={ACT: act}):  # newest first
        name = name_below(act, namespace_of(kept.config))
        # What lies deeper is an agent's, below a call.
        if name not in seen and len(namespace_parts(name)) == 1 and "count" in kept.checkpoint["channel_values"]:
            seen.add(name)
            yield Record.of(name, kept)


async def record(saver: BaseCheckpointSaver[Any], thread: str, act: str, name: str) -> Record | None:
    """Return what is recorded of the call of that name; None if nothing is."""
    kept = await allowing(saver, STORED_TYPES).aget_tuple(checkpoint_config(thread, joined(act, name)))
    return None if kept is None or "count" not in kept.checkpoint["channel_values"] else Record.of(name, kept)


class Recorder:
    """Records the answers to one call, each as it comes."""

    def __init__(
        self,
        saver: BaseCheckpointSaver[Any],
        config: RunnableConfig,
        *,
        kind: CallKind,
        count: int,
        known: Mapping[int, SubcallReply],
    ) -> None:
        """`config` says where, with the metadata of the record; `known` was answered before."""
        self._saver = saver
        self._config = config
        self._values = {"kind": kind, "count": count, "replies": dict(known)}
        self._begun: asyncio.Task[RunnableConfig] | None = None

    async def keep(self, index: int, reply: SubcallReply) -> None:
        """Record the answer to the request of that index; on disk, if the saver writes to one, when this returns."""
        if self._values["count"] == 1:
            self._values["replies"] = {index: reply}
            await self.begin()
            return
        if self._begun is None:
            self._begun = asyncio.create_task(self.begin())
        # Whoever is cancelled meanwhile shall not take the record of the others along.
        begun = await asyncio.shield(self._begun)
        await self._saver.aput_writes(begun, [("replies", {index: reply})], f"{index}")

    async def begin(self) -> RunnableConfig:
        """Record what is known; return the config that names the checkpoint."""
        version = self._saver.get_next_version(None, None)
        versions = dict.fromkeys(self._values, version)
        checkpoint = {**empty_checkpoint(), "channel_values": self._values, "channel_versions": versions}
        described: Any = {"source": "update", "step": 0, "parents": {}}
        return await self._saver.aput(self._config, checkpoint, described, versions)  # type: ignore[arg-type]  # as above
