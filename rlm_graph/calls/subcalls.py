"""Host calls → subgraph runs, each under a name that is its content.

LangGraph matches the graphs that a node invokes by their order. Code calls from threads and in another order on a
re-run, so a resumed run would hand one call the answer of another. Here a child's namespace carries a digest of the
call instead, and its checkpoint is the record: asked again, it answers from there and asks nobody.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from langchain_core.runnables import RunnableConfig
from langgraph.errors import GraphInterrupt
from langgraph.types import Interrupt
from pydantic import JsonValue, ValidationError

from rlm_graph import bridge
from rlm_graph.approval import Approval
from rlm_graph.budget import Usage
from rlm_graph.calls.arrivals import Arrivals, AskProgress
from rlm_graph.calls.batch import CallBatch, SubcallState, reporting_to
from rlm_graph.calls.clock_readings import ClockReadings, of_cell
from rlm_graph.calls.keys import key, key_of
from rlm_graph.calls.record import ACT, AGENTS, CELL, CallKind, Record, Recorder, record, records
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
    whole_arguments,
    words_of,
)
from rlm_graph.context import ContextStore
from rlm_graph.context.kept_answers import whole_reply
from rlm_graph.executors.base import CallResult, HostCall
from rlm_graph.executors.sandbox.frames import MAX_VALUE
from rlm_graph.executors.sandbox.readings import Readings
from rlm_graph.executors.sandbox.worker.ahead import MAX_AHEAD
from rlm_graph.handed import ReadingRoom
from rlm_graph.langgraph_internals import (
    UNRECORDED,
    checkpointer_of,
    child_config,
    is_of_this_machine,
    joined,
    may_be_repeated,
    namespace_of,
    record_config,
)
from rlm_graph.ledger import Ledger
from rlm_graph.state import CallSummary, SubcallReply
from rlm_graph.storage.threaded_saver import ThreadedSaver
from rlm_graph.tools import HostFunction

if TYPE_CHECKING:
    from langgraph.checkpoint.base import BaseCheckpointSaver
    from langgraph.graph.state import CompiledStateGraph

NO_CELL = 0
"""Stands for the cell in the name of a call that no cell has made; cells are numbered from 1."""

LOCKED = "__rlm_graph_held"
"""Key in the config of every graph below an act. Such a graph takes no lock: the process at the act holds the run's."""


PROMPT_CHARS_KEPT = 2_000
"""Characters that are kept of the prompts of one call together, for those who look at the run. A whole prompt, which
may hold any part of the context, is stored nowhere."""
MAX_PROMPTS_KEPT = 20
"""The most prompts of a batch of which something is kept."""


class Subcalls:
    """Answers the calls that code makes, through `graph` (see `graphs/subcall.py`)."""

    def __init__(
        self,
        graph: CompiledStateGraph[SubcallState, CallBatch, Any, Any],
        *,
        tools: Mapping[str, HostFunction] | None = None,
        retrieval: HostFunction | None = None,
        agents: Collection[str] = (),
        approval: Approval | None = None,
        store: ContextStore | None = None,
        max_concurrency: int,
        batch_loops: bool = False,
    ) -> None:
        """`retrieval` answers the `context_query` of calls; `approval` is that of the graph.

        `store` keeps large answers: without one they stand in their records. Under `batch_loops`, code may begin calls
        of loops ahead, as many as may be under way of one batch.
        """
        self._store = store
        self._graph = graph
        self._approval = approval or Approval(None)
        self._retrieval = retrieval
        self._agents = agents
        self._max_concurrency = max_concurrency
        waits = self._approval.may_wait("llm_query")
        self.ahead = min(MAX_AHEAD, max_concurrency) if batch_loops and max_concurrency > 1 and not waits else 0
        """Calls that a cell may begin ahead of their use: none where a human is asked before each."""
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
            approval=self._approval,
            store=self._store,
            ahead=self.ahead,
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
        approval: Approval,
        store: ContextStore | None = None,
        ahead: int = 0,
    ) -> None:
        self.tools = tools
        self.ahead = ahead
        """Calls that a cell may begin ahead of their use."""
        self._store = store
        self._approval = approval
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
        self._arrivals: dict[int, Arrivals] = {}
        self._records: dict[str, Record] | None = None
        self._reading = asyncio.Lock()
        self._made: set[str] = set()
        """Names of the calls that were made here: what is recorded of them is not in `_records`."""
        self._calls: dict[str, CallSummary] = {}
        self._read_of_clocks = ClockReadings()
        self._room = ReadingRoom()
        self.interrupts: list[Interrupt] = []
        """Calls that wait for a human. Several may, when threads or a batch made them."""

    async def serve(self, cell: int, call: HostCall, *, progress: AskProgress | None = None) -> CallResult:
        """Answer one call of the cell of that number: from the record if it is there, else by making it.

        The answers of a cell are returned in the order in which they came: see `Arrivals`, which asks for `progress`.
        """
        self.note_readings(cell, call.readings)
        recursive = self._ledger.budget.max_depth > 0
        # At the last level what an agent would have worked on is part of a prompt.
        size = 0 if recursive else sum(handed.text.size for handed in call.handed)
        async with AsyncExitStack() as reading:
            try:
                await reading.enter_async_context(self._room.taken(size))
            except ValueError as error:
                return CallResult(error=f"{call.function}: {error}", error_type="ValueError")
            return await self._served(cell, call, progress, recursive=recursive)

    async def _served(self, cell: int, call: HostCall, progress: AskProgress | None, *, recursive: bool) -> CallResult:
        try:
            if call.handed and not recursive:
                requests = await bridge.in_thread(read_requests, call, recursive=False)
            else:
                requests = read_requests(call, recursive=recursive)
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
        name = await self._name(cell, call)
        if cell == NO_CELL:
            replies = await self._answered(cell, name, requests)
        else:
            arrivals = await self._arrivals_of(cell, progress)
            in_turn = self._begun_ahead if call.ahead else self._in_order
            replies = await in_turn(arrivals, cell, name, requests)
        ordered = [replies[index] for index in range(len(requests))]
        if call.function.endswith("_batched"):
            return CallResult.model_construct(value=[_batch_item(reply) for reply in ordered])
        reply = ordered[0]
        return CallResult.model_construct(  # its value has been checked already, which takes long for a large one
            value=reply.value,
            error=reply.error,
            error_type=reply.error_type,
            reason=reply.reason,
            partial=reply.partial,
        )

    async def _name(self, cell: int, call: HostCall) -> str:
        """Return the name of the record of a call.

        Version 0.1.0 told calls from each other by all of their arguments. What is recorded so is found so.
        """
        name = f"{call.function}:{await key_of(cell, call)}"
        if not call.named or cell == NO_CELL:
            return name
        recorded = {each.name for each in (await self._recorded()).values() if each.cell == cell}
        if name in recorded or not any(each.startswith(f"{call.function}:") for each in recorded):
            return name
        if sum(handed.text.size for handed in call.handed) > MAX_VALUE:  # version 0.1.0 asked nothing as long
            return name
        whole = await bridge.in_thread(whole_arguments, call)
        plain = call.model_copy(update={"arguments": whole, "plain": None, "named": ()})
        before = f"{call.function}:{key(cell, plain)}"
        return before if before in recorded else name

    async def _retrieved(self, cell: int, call: HostCall, query: JsonValue) -> SubcallReply:
        """Ask the retrieval tool, in a step of its own: a resumed run puts what was found then before the prompt."""
        if self._retrieval is None:
            problem = "this run has no tool that looks for a context; give the text in the prompt"
            return SubcallReply(error=problem, error_type="ValueError")
        [parameter, *_] = self._retrieval.parameters
        request = ToolRequest(tool=self._retrieval.name, arguments={parameter: query})
        before = call.model_copy(update={"function": f"{call.function} context_query"})
        return (await self._answered(cell, f"{self._retrieval.name}:{await key_of(cell, before)}", [request]))[0]

    async def _in_order(
        self, arrivals: Arrivals, cell: int, name: str, requests: Sequence[Request]
    ) -> Mapping[int, SubcallReply]:
        """Return the answers when all that came before them have been returned."""
        arrivals.begin(name, len(requests))
        try:
            number = functools.partial(arrivals.number, name)
            replies = await self._answered(cell, name, requests, recorded_in=cell, number=number)
            await arrivals.turn(name)
        except Exception as error:
            arrivals.fail(error)
            raise
        finally:
            arrivals.end(name)
        return replies

    async def _begun_ahead(
        self, arrivals: Arrivals, cell: int, name: str, requests: Sequence[Request]
    ) -> Mapping[int, SubcallReply]:
        """Return the answers at once: the code, which has one thread then, takes them when it comes to them.

        They are recorded without an order, so that a replay that begins nothing ahead waits for none of them.
        """
        arrivals.pass_by(name)
        try:
            return await self._answered(cell, name, requests, recorded_in=cell)
        except Exception as error:
            arrivals.fail(error)
            raise

    async def _arrivals_of(self, cell: int, progress: AskProgress | None) -> Arrivals:
        kept = await self._recorded()
        async with self._reading:
            if cell not in self._arrivals:
                calls = {each.name: each.call for each in kept.values() if each.cell == cell}
                last = max((call.arrival for call in calls.values()), default=0)
                if calls and progress is not None:
                    has = (await progress(answered=True)).answered
                    calls = {name: call for name, call in calls.items() if name.rpartition(":")[2] not in has}
                self._arrivals[cell] = Arrivals(calls, progress, last=last)
            return self._arrivals[cell]

    async def _answered(
        self,
        cell: int,
        name: str,
        requests: Sequence[Request],
        *,
        recorded_in: int | None = None,
        number: Callable[[], int] | None = None,
    ) -> Mapping[int, SubcallReply]:
        """Make the requests, or take their answers from the record, which are charged once.

        `number` numbers the answers as they come.
        """
        batch = CallBatch(
            requests, self._ledger, asyncio.Semaphore(self.max_concurrency), read=self._read_of_clocks.take
        )
        if number is not None:
            batch = replace(batch, number=number)
        kept = await self._kept(name)
        if kept is not None and len(kept.replies) == len(requests):
            replies = kept.replies
        else:
            replies = await self._run(name, batch, kept, cell=recorded_in)
        replies = {index: await self._whole(reply) for index, reply in replies.items()}
        self.asked += len(batch.asked)
        self._note(cell, name, replies, agents=_agents(requests), texts=[describe(each).text for each in requests])
        if not self._replaying and name not in self._charged:
            for index, reply in replies.items():
                if index not in batch.asked:
                    self._ledger.charge(reply.usage)
        return replies

    async def _whole(self, reply: SubcallReply) -> SubcallReply:
        if reply.kept is None or self._store is None:
            return reply
        return await bridge.in_thread(whole_reply, reply, self._store)

    def note_readings(self, cell: int, readings: Readings) -> None:
        """Have what a cell of this act has read of clocks recorded with the next answer."""
        if not self._replaying:
            self._read_of_clocks.note(cell, readings)

    async def recorded_readings(self, cell: int) -> Readings:
        """Return what is recorded of the clocks of a cell that was cut off; nothing if the act begins only now."""
        if not may_be_repeated(self._config):
            return {}
        return of_cell(cell, [each.readings for each in (await self._recorded()).values()])

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
        for each in (await self._recorded()).values():
            if each.name not in self._charged and len(each.replies) == each.count:
                self._charged.add(each.name)
                self._note(None, each.name, each.replies, agents=each.agents)
                for reply in each.replies.values():
                    self._ledger.charge(reply.usage)

    async def _recorded(self) -> Mapping[str, Record]:
        """Return what is recorded of the calls of this act, as it was when this process began with it."""
        async with self._reading:
            if self._records is None:
                saver, self._records = self._saver(), {}
                if saver is not None:
                    self._records = {each.name: each async for each in records(saver, self._thread, self.namespace)}
            return self._records

    async def _kept(self, name: str) -> Record | None:
        """Return what is recorded of a call by now."""
        if name not in self._made:
            self._made.add(name)
            return (await self._recorded()).get(name)
        saver = self._saver()
        return None if saver is None else await record(saver, self._thread, self.namespace, name)

    @property
    def _thread(self) -> str:
        return str(self._config["configurable"]["thread_id"])

    def _saver(self) -> BaseCheckpointSaver[Any] | None:
        """Return the saver of this run, for use on the event loop."""
        saver = checkpointer_of(self._config)
        if saver is None or isinstance(saver, ThreadedSaver) or not bridge.under_invoke():
            return saver
        return ThreadedSaver(saver)

    async def _run(
        self, name: str, batch: CallBatch, kept: Record | None, *, cell: int | None
    ) -> Mapping[int, SubcallReply]:
        saver, namespace = self._saver(), joined(self.namespace, name)
        if saver is not None and is_of_this_machine(saver):
            batch = replace(batch, store=self._store)
        described = {ACT: self.namespace, AGENTS: ",".join(_agents(batch.requests)), CELL: cell}
        kind, count = self._kind(batch.requests), len(batch.requests)
        if kept is not None:
            batch = replace(batch, known=kept.replies)
        recorder: Recorder | None = None
        if saver is not None:
            at: RunnableConfig = {**record_config(self._config, namespace), "metadata": described}
            recorder = Recorder(saver, at, kind=kind, count=count, known=batch.known)
        if kind == "ask":
            batch = replace(batch, recorder=recorder)
            config = child_config(self._config, namespace, saver=UNRECORDED)
        else:
            if recorder is not None and kept is not None and not kept.by_graph:
                await recorder.begin()  # the graph that begins there has all of it from its first checkpoint on
            if saver is not None:
                batch, saver = reporting_to(batch, saver, namespace)
            config = child_config(self._config, namespace, saver=saver, goes_on=kept is None or kept.by_graph)
            config["metadata"] = {**config.get("metadata", {}), **described}
        config["configurable"][LOCKED] = True
        given: Any = {"kind": kind, "count": count}
        try:
            state = await self._graph.ainvoke(given, config, context=batch)
        except GraphInterrupt as waiting:
            self.interrupts += waiting.args[0]
            raise
        replies: Mapping[int, SubcallReply] = state["replies"]
        return replies

    def _kind(self, requests: Sequence[Request]) -> CallKind:
        """Return the node that meets the requests, which are all of one kind."""
        if isinstance(requests[0], AgentRequest):
            return "recurse"
        models = all(isinstance(request, ModelRequest) for request in requests)
        waits = any(self._approval.may_wait(describe(request).function) for request in requests)
        return "ask" if models and not waits else "call"


def _agents(requests: Sequence[Request]) -> tuple[str, ...]:
    """Return the specialists that a call asks: those of a batch may differ."""
    named = (request.agent for request in requests if not isinstance(request, ToolRequest))
    return tuple(dict.fromkeys(name for name in named if name is not None))


def _batch_item(reply: SubcallReply) -> JsonValue:
    if reply.error is None:
        return {"text": reply.value}
    item: dict[str, JsonValue] = {"error": reply.error, "type": reply.error_type}
    return item if reply.reason is None else {**item, "reason": reply.reason, "partial": reply.partial}
