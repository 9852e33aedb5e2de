"""Host calls → subgraph runs, each under a name that is its content.

LangGraph matches the graphs that a node invokes by their order. Code calls from threads and in another order on a
re-run, so a resumed run would hand one call the answer of another. Here a child's namespace carries a digest of the
call instead, and its checkpoint is the record: asked again, it answers from there and asks nobody.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypedDict

from langchain_core.runnables import RunnableConfig
from langgraph.errors import GraphInterrupt
from langgraph.types import Interrupt
from pydantic import JsonValue, ValidationError

from rlm_graph import bridge
from rlm_graph.budget import Usage
from rlm_graph.calls.requests import (
    MODEL_CALLS,
    AgentRequest,
    ModelRequest,
    Request,
    ToolRequest,
    as_context,
    describe,
    read_requests,
    unknown_agent,
    words_of,
)
from rlm_graph.executors.base import CallResult, HostCall
from rlm_graph.langgraph_internals import allowing, checkpointer_of, child_config, joined, name_below, namespace_of
from rlm_graph.ledger import Ledger
from rlm_graph.state import STORED_TYPES, CallSummary, SubcallReply
from rlm_graph.storage.threaded_saver import ThreadedSaver
from rlm_graph.tools import HostFunction

if TYPE_CHECKING:
    from langgraph.checkpoint.base import BaseCheckpointSaver
    from langgraph.graph.state import CompiledStateGraph

LOCKED = "__rlm_graph_held"
"""Key in the config of every graph below an act. Such a graph takes no lock: the process at the act holds the run's."""


PROMPT_CHARS_KEPT = 2_000
"""Characters that are kept of the prompts of one call together, for those who look at the run. A whole prompt, which
may hold any part of the context, is stored nowhere."""
MAX_PROMPTS_KEPT = 20
"""The most prompts of a batch of which something is kept."""

ACT = "rlm_act"
"""Key in the metadata of a call's record, for the namespace of the act that made the call."""
AGENTS = "rlm_agents"
"""Key in the metadata of a call's record, for the names of the specialists that were asked, separated by commas."""


@dataclass(frozen=True)
class CallBatch:
    """What a child graph works on. It is handed over in memory on every run and never stored: prompts are long."""

    requests: Sequence[Request]
    ledger: Ledger
    limit: asyncio.Semaphore
    """Held while a request is under way. LangGraph's own limit on tasks also holds up the record of their answers."""
    asked: list[int] = field(default_factory=list)
    """Indexes of the requests that this process really made; those missing were answered from the record."""
    spent: dict[int, Usage] = field(default_factory=dict)
    """What the attempts at a request have spent by now, those that failed too, by its index."""

    def charge(self, index: int, usage: Usage) -> None:
        """Note what an attempt at the request of that index has spent."""
        self.spent[index] = self.spent.get(index, Usage()) + usage


def merge(replies: Mapping[int, SubcallReply], more: Mapping[int, SubcallReply]) -> dict[int, SubcallReply]:
    """Put the replies of a fan-out together."""
    return {**replies, **more}


class SubcallState(TypedDict):
    """What is recorded of a call: how many requests it has and what each was answered."""

    kind: Literal["call", "recurse"]
    count: int
    replies: Annotated[dict[int, SubcallReply], merge]


class Subcalls:
    """Answers the calls that code makes, through `graph` (see `graphs/subcall.py`)."""

    def __init__(
        self,
        graph: CompiledStateGraph[SubcallState, CallBatch, Any, Any],
        *,
        tools: Mapping[str, HostFunction] | None = None,
        retrieval: HostFunction | None = None,
        agents: Collection[str] = (),
        max_concurrency: int,
    ) -> None:
        """`retrieval` answers the `context_query` of calls."""
        self._graph = graph
        self._retrieval = retrieval
        self._agents = agents
        self._max_concurrency = max_concurrency
        self.tools = tuple(function.signature for function in (tools or {}).values())

    def within(self, ledger: Ledger, config: RunnableConfig, *, namespace: str | None = None) -> CallScope:
        """Serve the calls of one act, charged to `ledger`.

        `namespace` is the act's, under which its calls are recorded; by default the one that runs now, and for a
        replay the one that made the calls.
        """
        return CallScope(
            self._graph,
            self._max_concurrency,
            ledger,
            config,
            namespace,
            self.tools,
            retrieval=self._retrieval,
            agents=self._agents,
        )


class CallScope:
    """The calls of one act."""

    def __init__(
        self,
        graph: CompiledStateGraph[SubcallState, CallBatch, Any, Any],
        max_concurrency: int,
        ledger: Ledger,
        config: RunnableConfig,
        namespace: str | None,
        tools: Sequence[str],
        *,
        retrieval: HostFunction | None = None,
        agents: Collection[str] = (),
    ) -> None:
        self.tools = tools
        self._retrieval = retrieval
        self._agents = agents
        self._graph = graph
        self._ledger = ledger
        self._config = config
        self.max_concurrency = max_concurrency
        """Requests of one batch, and calls of one reply, that are under way at once."""
        self._replaying = namespace is not None
        self.namespace: str = namespace or namespace_of(config)
        self.asked = 0
        """Requests that were really made, not answered from the record."""
        self._charged: set[str] = set()
        self._calls: dict[str, CallSummary] = {}
        self.interrupts: list[Interrupt] = []
        """Calls that wait for a human. Several may, when threads or a batch made them."""

    async def serve(self, cell: int, call: HostCall) -> CallResult:
        """Answer one call of the cell of that number: from the record if it is there, else by making it."""
        try:
            requests = read_requests(call, recursive=self._ledger.budget.max_depth > 0)
        except (ValidationError, TypeError) as error:
            return CallResult(error=f"{call.function}: {words_of(error)}", error_type="TypeError")
        # In a replay the record may hold the answer of a specialist that the run has lost since.
        unknown = None if self._replaying else unknown_agent(requests, self._agents)
        if unknown is not None:
            return CallResult(error=f"{call.function}: {unknown}", error_type="ValueError")
        if not requests:
            return CallResult(value=[])
        query = call.arguments.get("context_query")
        if call.function in MODEL_CALLS and query is not None:
            found = await self._retrieved(cell, call, query)
            if found.error is not None:
                return CallResult(error=f"context_query: {found.error}", error_type=found.error_type)
            text = as_context(found.value)
            requests = [request.about(text) for request in requests if isinstance(request, ModelRequest)]
        replies = await self._answered(cell, f"{call.function}:{_key(cell, call)}", requests)
        ordered = [replies[index] for index in range(len(requests))]
        if call.function.endswith("_batched"):
            return CallResult(value=[_batch_item(reply) for reply in ordered])
        reply = ordered[0]
        return CallResult(
            value=reply.value,
            error=reply.error,
            error_type=reply.error_type,
            reason=reply.reason,
            partial=reply.partial,
        )

    async def _retrieved(self, cell: int, call: HostCall, query: JsonValue) -> SubcallReply:
        """Ask the retrieval tool, in a step of its own: a resumed run puts what was found then before the prompt."""
        if self._retrieval is None:
            problem = "this run has no tool that looks for a context; give the text in the prompt"
            return SubcallReply(error=problem, error_type="ValueError")
        [parameter, *_] = self._retrieval.parameters
        request = ToolRequest(tool=self._retrieval.name, arguments={parameter: query})
        before = call.model_copy(update={"function": f"{call.function} context_query"})
        return (await self._answered(cell, f"{self._retrieval.name}:{_key(cell, before)}", [request]))[0]

    async def _answered(self, cell: int, name: str, requests: Sequence[Request]) -> Mapping[int, SubcallReply]:
        """Make the requests, or take their answers from the record, which are charged once."""
        batch = CallBatch(requests, self._ledger, asyncio.Semaphore(self.max_concurrency))
        replies = await self._run(name, batch)
        self.asked += len(batch.asked)
        self._note(cell, name, replies, agents=_agents(requests), texts=[describe(each).text for each in requests])
        if not self._replaying and name not in self._charged:
            for index, reply in replies.items():
                if index not in batch.asked:
                    self._ledger.charge(reply.usage)
        return replies

    def calls(self) -> tuple[CallSummary, ...]:
        """Return the calls of this act, those that were answered before it was interrupted first."""
        return tuple(self._calls.values())

    def _note(
        self,
        cell: int | None,
        name: str,
        replies: Mapping[int, SubcallReply],
        *,
        agents: tuple[str, ...],
        texts: Sequence[str] = (),
    ) -> None:
        kept = texts[:MAX_PROMPTS_KEPT]
        chars = PROMPT_CHARS_KEPT // max(len(kept), 1)
        self._calls.setdefault(
            name,
            CallSummary(
                cell=cell,
                function=name.partition(":")[0],
                agents=agents,
                requests=len(replies),
                failed=sum(reply.error is not None for reply in replies.values()),
                usage=sum((reply.usage for reply in replies.values()), Usage()),
                record=name,
                prompts=tuple(text[:chars] for text in kept),
                prompt_chars=tuple(map(len, kept)),
            ),
        )

    async def charge_recorded(self) -> None:
        """Charge the calls that were answered when this act ran before.

        A cell that lived on has their answers already and does not make them again; what they spent counts all the
        same.
        """
        saver = self._saver()
        if saver is None:
            return
        thread: RunnableConfig = {"configurable": {"thread_id": self._config["configurable"]["thread_id"]}}
        kept_calls = allowing(saver, STORED_TYPES).alist(thread, filter={ACT: self.namespace})
        found = [kept async for kept in kept_calls]
        # Newest first: the last checkpoint of a call that has been answered holds all its replies.
        for kept in found:
            values = kept.checkpoint["channel_values"]
            name = name_below(self.namespace, namespace_of(kept.config))
            if name not in self._charged and len(values.get("replies", ())) == values.get("count", -1):
                self._charged.add(name)
                agents = str(kept.metadata.get(AGENTS, "")).split(",")
                self._note(None, name, values["replies"], agents=tuple(filter(None, agents)))
                for reply in values["replies"].values():
                    self._ledger.charge(reply.usage)

    def _saver(self) -> BaseCheckpointSaver[Any] | None:
        """Return the saver of this run, for use on the event loop."""
        saver = checkpointer_of(self._config)
        if saver is None or isinstance(saver, ThreadedSaver) or not bridge.under_invoke():
            return saver
        return ThreadedSaver(saver)

    async def _run(self, name: str, batch: CallBatch) -> Mapping[int, SubcallReply]:
        config = child_config(self._config, joined(self.namespace, name), saver=self._saver())
        config["configurable"][LOCKED] = True
        agents = ",".join(_agents(batch.requests))
        config["metadata"] = {**config.get("metadata", {}), ACT: self.namespace, AGENTS: agents}
        kind = "recurse" if isinstance(batch.requests[0], AgentRequest) else "call"
        given = {"kind": kind, "count": len(batch.requests)}
        try:
            state = await self._graph.ainvoke(given, config, context=batch)
        except GraphInterrupt as waiting:
            self.interrupts += waiting.args[0]
            raise
        replies: Mapping[int, SubcallReply] = state["replies"]
        return replies


def _agents(requests: Sequence[Request]) -> tuple[str, ...]:
    """Return the specialists that a call asks: those of a batch may differ."""
    named = (request.agent for request in requests if not isinstance(request, ToolRequest))
    return tuple(dict.fromkeys(name for name in named if name is not None))


def _key(cell: int, call: HostCall) -> str:
    """Name a call by its content, its cell, and how many equal calls that cell made before."""
    content = json.dumps([cell, call.function, call.arguments, call.nth], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(content.encode()).hexdigest()[:24]


def _batch_item(reply: SubcallReply) -> JsonValue:
    if reply.error is None:
        return {"text": reply.value}
    item: dict[str, JsonValue] = {"error": reply.error, "type": reply.error_type}
    return item if reply.reason is None else {**item, "reason": reply.reason, "partial": reply.partial}
