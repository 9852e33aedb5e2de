"""How nodes tell events: what happened, under the id of the call in which it happened."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.config import get_config
from langgraph.runtime import get_runtime

from rlm_graph.budget import Usage
from rlm_graph.calls.batch import CallBatch
from rlm_graph.calls.requests import Request, describe
from rlm_graph.events.ids import call_of, id_of
from rlm_graph.events.types import (
    MAX_CHARS,
    AnswerEvent,
    BudgetEvent,
    CallEvent,
    CellEvent,
    Event,
    OutputEvent,
    SubcallEvent,
    TurnEvent,
)
from rlm_graph.langgraph_internals import namespace_of, namespace_parts
from rlm_graph.state import Answer, Cell, Execution, SubcallReply

Node = Callable[..., Awaitable[Mapping[str, Any]]]


def with_events(node: Node) -> Node:
    """Return the agent's node, and have it tell of what it has done."""

    @functools.wraps(node)
    async def told(state: Any, **given: Any) -> Mapping[str, Any]:
        update = await node(state, **given)
        for event in _of_agent(state, update):
            _write(event)
        return update

    return told


def with_call_events(node: Node) -> Node:
    """Return the node that answers one request of a `CallBatch`, and have it tell before and after."""

    @functools.wraps(node)
    async def told(position: Any, **given: Any) -> Mapping[str, Any]:
        runtime = get_runtime(CallBatch)
        batch, index = runtime.context, position["index"]
        if index in batch.known:
            return await node(position, **given)
        about = _about(batch.requests[index], get_config())
        if runtime.execution_info is None or runtime.execution_info.node_attempt == 1:
            _write(CallEvent(**about))
        update = await node(position, **given)
        for reply in update["replies"].values():
            emit_reply(about, reply)
        return update

    return told


def emit_call(request: Request, config: RunnableConfig) -> Mapping[str, Any]:
    """Tell that a request is made, under that config, and return what its reply is told with."""
    about = _about(request, config)
    _write(CallEvent(**about))
    return about


def emit_reply(about: Mapping[str, Any], reply: SubcallReply) -> None:
    """Tell what a request was answered."""
    _write(_of_call(about, reply))


def emit_cell(cell: Cell) -> None:
    """Tell that the agent whose node runs now is about to run the cell."""
    _write(CellEvent(**_ids(), language=cell.language, code=_cut(cell.code), chars=len(cell.code)))


def emit_output(execution: Execution) -> None:
    """Tell what became of a cell."""
    error, value = execution.error, execution.value
    _write(
        OutputEvent(
            **_ids(),
            number=execution.number,
            status=execution.status,
            stdout=_cut(execution.stdout),
            stderr=_cut(execution.stderr),
            value=None if value is None else _cut(value),
            error=None if error is None else _cut(f"{error.type}: {error.message}"),
            calls=execution.calls,
        )
    )


def _write(event: Event) -> None:
    get_runtime().stream_writer(event)


def _ids() -> dict[str, Any]:
    call_id, parent_id = call_of(namespace_of(get_config()))
    return {"call_id": call_id, "parent_id": parent_id}


def _of_agent(state: Mapping[str, Any], update: Mapping[str, Any]) -> Iterator[Event]:
    ids = _ids()
    spent = update.get("usage")
    if "corrections" in update and isinstance(spent, Usage):  # think's
        text = update["dialogue"][-1].text
        number = (state["usage"] + spent).turns
        yield TurnEvent(**ids, number=number, text=_cut(text), chars=len(text))
    if isinstance(spent, Usage):
        yield BudgetEvent(**ids, spent=state["usage"] + spent, budget=state["budget"], ceiling=update.get("ceiling"))
    answer = update.get("answer")
    if isinstance(answer, Answer):
        yield AnswerEvent(
            **ids, text=_cut(answer.text), chars=answer.length, complete=answer.complete, ceiling=answer.ceiling
        )


def _about(request: Request, config: RunnableConfig) -> dict[str, Any]:
    """Return what the events of a call have in common."""
    path = namespace_parts(namespace_of(config))
    function, agent, text = describe(request)
    ids = {"call_id": id_of(path), "parent_id": id_of(path[:-3])}
    return {**ids, "function": function, "agent": agent, "prompt": _cut(text)}


def _of_call(about: Mapping[str, Any], reply: SubcallReply) -> SubcallEvent:
    return SubcallEvent(
        **about,
        reply="" if reply.value is None else _cut(str(reply.value)),
        error=None if reply.error is None else _cut(reply.error),
        usage=reply.usage,
    )


def _cut(text: str) -> str:
    if len(text) <= MAX_CHARS:
        return text
    half = MAX_CHARS // 2
    return f"{text[:half]}…{text[-half:]}"
