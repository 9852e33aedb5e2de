"""The requests of one call, as the graph that meets them has them at hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

from rlm_graph import bridge
from rlm_graph.budget import Usage
from rlm_graph.calls.record import CallKind, Recorder
from rlm_graph.calls.requests import Request
from rlm_graph.context import ContextStore
from rlm_graph.context.kept_answers import is_large, kept_reply
from rlm_graph.langgraph_internals import reporting
from rlm_graph.ledger import Ledger
from rlm_graph.state import SubcallReply

if TYPE_CHECKING:
    from langgraph.checkpoint.base import BaseCheckpointSaver


@dataclass(frozen=True)
class CallBatch:
    """What a child graph works on. It is handed over in memory on every run and never stored: prompts are long."""

    requests: Sequence[Request]
    ledger: Ledger
    limit: asyncio.Semaphore
    """Held while a request is under way, and until its answer is recorded: no more than that many can be lost by a
    crash, however slow the disk is. LangGraph's own limit on tasks holds up the record of their answers."""
    known: Mapping[int, SubcallReply] = field(default_factory=dict)
    """Replies that are recorded, by the index of the request."""
    recorder: Recorder | None = None
    """Records each answer; None where a graph does, or nobody."""
    kept: bool = False
    """Whether a graph records the answers, and `recorded` is called then."""
    unrecorded: set[int] = field(default_factory=set)
    """Indexes of the requests whose answer is there and not recorded, for which `limit` is held."""
    asked: list[int] = field(default_factory=list)
    """Indexes of the requests that this process really made; those missing were answered from the record."""
    spent: dict[int, Usage] = field(default_factory=dict)
    """What the attempts at a request have spent by now, those that failed too, by its index."""
    number: Callable[[], int] = lambda: 0
    """Gives an answer that has just come its `arrival`."""
    read: Callable[[], dict[str, list[int]]] = dict
    """Gives it what is recorded of clocks with it."""
    store: ContextStore | None = None
    """Keeps what is too large for a checkpoint, if the record is read on this machine alone."""

    async def shortened(self, reply: SubcallReply) -> SubcallReply:
        """Return a reply as it is recorded: what is too large for a checkpoint lies in the store."""
        if self.store is None or not (is_large(reply.value) or is_large(reply.partial)):
            return reply
        return await bridge.in_thread(kept_reply, reply, self.store)

    def numbered(self, reply: SubcallReply) -> SubcallReply:
        """Return a reply that has just come with its `arrival`, and with what is recorded of clocks with it."""
        return reply.model_copy(update={"arrival": self.number(), "readings": self.read()})

    def answered(self, index: int, reply: SubcallReply) -> dict[str, Any]:
        """Return what is recorded of the request of that index, now that its answer is there."""
        return {"replies": {index: self.numbered(reply)}}

    @asynccontextmanager
    async def under_way(self, index: int) -> AsyncIterator[None]:
        """Wait until the request of that index may be made, and count it as under way until its answer is recorded."""
        await self.limit.acquire()
        answered = False
        try:
            yield
            answered = self.kept
        finally:
            if answered:
                self.unrecorded.add(index)
            else:
                self.limit.release()

    def recorded(self, indexes: Iterable[int]) -> None:
        """Note that the answers to these requests are recorded."""
        for index in self.unrecorded.intersection(indexes):
            self.unrecorded.remove(index)
            self.limit.release()

    def charge(self, index: int, usage: Usage) -> None:
        """Note what an attempt at the request of that index has spent."""
        self.spent[index] = self.spent.get(index, Usage()) + usage


def merge(replies: Mapping[int, SubcallReply], more: Mapping[int, SubcallReply]) -> dict[int, SubcallReply]:
    """Put the replies of a fan-out together."""
    return {**replies, **more}


class SubcallState(TypedDict):
    """What is recorded of a call: how many requests it has and what each was answered."""

    kind: CallKind
    count: int
    replies: Annotated[dict[int, SubcallReply], merge]


def reporting_to(
    batch: CallBatch, saver: BaseCheckpointSaver[Any], namespace: str
) -> tuple[CallBatch, BaseCheckpointSaver[Any]]:
    """Have the batch hear of what a graph records of it by that saver."""
    batch = replace(batch, kept=True)

    def written(of: str, writes: Sequence[tuple[str, Any]]) -> None:
        if of == namespace:  # what lies below uses this saver too
            batch.recorded(index for channel, replies in writes if channel == "replies" for index in replies)

    return batch, reporting(saver, written)
