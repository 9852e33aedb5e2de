"""Host calls → subgraph runs, each under a name that is its content.

LangGraph matches the graphs that a node invokes by their order. Code calls from threads and in another order on a
re-run, so a resumed run would hand one call the answer of another. Here a child's namespace carries a digest of the
call instead, and its checkpoint is the record: asked again, it answers from there and asks nobody.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool
from langgraph.errors import GraphInterrupt
from langgraph.types import Interrupt
from pydantic import AliasChoices, Field, JsonValue, PositiveInt, ValidationError

from rlm_graph import bridge
from rlm_graph.executors.base import CallResult, HostCall
from rlm_graph.ledger import Ledger
from rlm_graph.state import SubcallReply
from rlm_graph.value import Value

if TYPE_CHECKING:
    from langgraph.graph.state import CompiledStateGraph

MODEL_CALLS = ("llm_query", "llm_query_batched", "rlm_query", "rlm_query_batched")
"""Host functions that ask a model. Every other host function is a tool."""


class ModelRequest(Value):
    """One prompt to a sub-model."""

    prompt: str
    model: str | None = None
    """One of the names that the run was given; by default the sub-model."""
    system: str | None = None
    max_tokens: PositiveInt | None = None


class ToolRequest(Value):
    """One call of a tool on the host."""

    tool: str
    arguments: dict[str, JsonValue]


Request = ModelRequest | ToolRequest


@dataclass(frozen=True)
class Ticket:
    """What a child graph works on. It is handed over in memory on every run and never stored: prompts are long."""

    requests: Sequence[Request]
    ledger: Ledger
    asked: list[int] = field(default_factory=list)
    """Indexes of the requests that this process really made; those missing were answered from the record."""


def merge(replies: Mapping[int, SubcallReply], more: Mapping[int, SubcallReply]) -> dict[int, SubcallReply]:
    """Put the replies of a fan-out together."""
    return {**replies, **more}


class SubcallState(TypedDict):
    """What is recorded of a call: how many requests it has and what each was answered."""

    count: int
    replies: Annotated[dict[int, SubcallReply], merge]


class Subcalls:
    """Answers the calls that code makes, through `graph` (see `graphs/subcall.py`)."""

    def __init__(
        self,
        graph: CompiledStateGraph[SubcallState, Ticket, Any, Any],
        *,
        tools: Sequence[BaseTool] = (),
        max_concurrency: int,
    ) -> None:
        self._graph = graph
        self._max_concurrency = max_concurrency
        self.tools = tuple(map(signature, tools))

    def within(self, ledger: Ledger, config: RunnableConfig, *, namespace: str | None = None) -> CallScope:
        """Serve the calls of one act, charged to `ledger`.

        `namespace` is the act's, under which its calls are recorded; by default the one that runs now, and for a
        replay the one that made the calls.
        """
        return CallScope(self._graph, self._max_concurrency, ledger, config, namespace, self.tools)


def signature(tool: BaseTool) -> str:
    """Write a tool as the call that code makes: `name(argument, …)`."""
    return f"{tool.name}({', '.join(tool.args)})"


class CallScope:
    """The calls of one act."""

    def __init__(
        self,
        graph: CompiledStateGraph[SubcallState, Ticket, Any, Any],
        max_concurrency: int,
        ledger: Ledger,
        config: RunnableConfig,
        namespace: str | None,
        tools: Sequence[str],
    ) -> None:
        self.tools = tools
        self._graph = graph
        self._ledger = ledger
        self._config = config
        self._max_concurrency = max_concurrency
        self._replaying = namespace is not None
        self.namespace: str = namespace or config["configurable"]["checkpoint_ns"]
        self.asked = 0
        """Requests that were really made, not answered from the record."""
        self.interrupts: list[Interrupt] = []
        """Calls that wait for a human. Several may, when threads or a batch made them."""

    async def serve(self, cell: int, call: HostCall) -> CallResult:
        """Answer one call of the cell of that number: from the record if it is there, else by making it."""
        try:
            requests = _requests(call)
        except (ValidationError, TypeError) as error:
            return CallResult(error=f"{call.function}: {_words(error)}", error_type="TypeError")
        if not requests:
            return CallResult(value=[])
        ticket = Ticket(requests, self._ledger)
        replies = await self._run(f"{call.function}:{_key(cell, call)}", ticket)
        self.asked += len(ticket.asked)
        if not self._replaying:
            for index, reply in replies.items():
                if index not in ticket.asked:
                    self._ledger.charge(reply.usage)
        ordered = [replies[index] for index in range(len(requests))]
        if call.function.endswith("_batched"):
            return CallResult(value=[_batch_item(reply) for reply in ordered])
        reply = ordered[0]
        return CallResult(value=reply.value, error=reply.error, error_type=reply.error_type)

    async def _run(self, name: str, ticket: Ticket) -> Mapping[int, SubcallReply]:
        config = child_config(self._config, f"{self.namespace}|{name}")
        config["max_concurrency"] = self._max_concurrency
        given = {"count": len(ticket.requests)}
        try:
            if bridge.under_invoke():
                state = await bridge.in_thread(self._graph.invoke, given, config, context=ticket)
            else:
                state = await self._graph.ainvoke(given, config, context=ticket)
        except GraphInterrupt as waiting:
            self.interrupts += waiting.args[0]
            raise
        replies: Mapping[int, SubcallReply] = state["replies"]
        return replies


def child_config(config: RunnableConfig, namespace: str) -> RunnableConfig:
    """Return the config under which a child graph records itself as exactly `namespace`.

    The scratchpad counts the subgraphs that a task has invoked, and LangGraph appends that number to the namespace of
    all but the first; a counter of its own makes every child the first. `resuming` makes a child that has a record go
    on from it instead of starting over, and does nothing to one that has none.
    """
    configurable = dict(config["configurable"])
    scratchpad = configurable["__pregel_scratchpad"]
    configurable["checkpoint_ns"] = namespace
    configurable["__pregel_resuming"] = True
    configurable["__pregel_scratchpad"] = dataclasses.replace(scratchpad, subgraph_counter=itertools.count().__next__)
    return {**config, "configurable": configurable}


def _key(cell: int, call: HostCall) -> str:
    """Name a call by its content, its cell, and how many equal calls that cell made before."""
    content = json.dumps([cell, call.function, call.arguments, call.nth], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(content.encode()).hexdigest()[:24]


class _Query(Value):
    prompt: str = Field(validation_alias=AliasChoices("prompt", "question"))
    context: str | None = None
    model: str | None = None
    system: str | None = None
    max_tokens: PositiveInt | None = None

    def request(self) -> ModelRequest:
        # The question goes last: models attend to it best there when the context is long.
        prompt = self.prompt if self.context is None else f"{self.context}\n\n{self.prompt}"
        return ModelRequest(prompt=prompt, model=self.model, system=self.system, max_tokens=self.max_tokens)


class _Batch(Value):
    prompts: list[str] = Field(validation_alias=AliasChoices("prompts", "questions"))
    contexts: list[str | None] | None = None
    model: str | None = None
    system: str | None = None
    max_tokens: PositiveInt | None = None

    def requests(self) -> list[ModelRequest]:
        contexts = self.contexts or [None] * len(self.prompts)
        if len(contexts) != len(self.prompts):
            raise TypeError(f"{len(self.prompts)} questions but {len(contexts)} contexts")
        return [
            _Query(prompt=prompt, context=context, model=self.model, system=self.system, max_tokens=self.max_tokens)
            .request()
            for prompt, context in zip(self.prompts, contexts, strict=True)
        ]  # fmt: skip


def _requests(call: HostCall) -> Sequence[Request]:
    """Read a call's arguments, which came from the sandbox. Raises `ValidationError` or `TypeError`."""
    given = {name: value for name, value in call.arguments.items() if value is not None}
    if call.function not in MODEL_CALLS:
        return [ToolRequest(tool=call.function, arguments=call.arguments)]
    if call.function.endswith("_batched"):
        return _Batch.model_validate(given).requests()
    return [_Query.model_validate(given).request()]


def _words(error: ValidationError | TypeError) -> str:
    if isinstance(error, TypeError):
        return str(error)
    first = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"


def _batch_item(reply: SubcallReply) -> JsonValue:
    if reply.error is None:
        return {"text": reply.value}
    return {"error": reply.error, "type": reply.error_type}
