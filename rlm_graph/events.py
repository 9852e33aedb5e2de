"""What a run tells while it is under way, in LangGraph's stream mode `custom`.

    for _, event in agent.stream({"question": "..."}, stream_mode="custom", subgraphs=True):
        match event:
            case OutputEvent(): print(event.stdout)

With `subgraphs=True`, what code's calls and children tell comes too; without, only what the agent itself does. What a
call was answered from the record, after a crash, is not told again; a turn that is taken up again is. Texts are cut to
`MAX_CHARS` characters.

A reader who is slow holds the run back: LangGraph takes no further step until it has read what the last one told.
Within a step, such as a cell with a thousand calls, events wait in memory.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any, Literal

from langgraph.config import get_config
from langgraph.runtime import get_runtime
from pydantic import NonNegativeInt

from rlm_graph.budget import Budget, Ceiling, Usage
from rlm_graph.requests import Request, described
from rlm_graph.state import Answer, Cell, Execution, SubcallReply
from rlm_graph.subcalls import Ticket
from rlm_graph.value import Value

MAX_CHARS = 4_000


class Event(Value):
    """What all events have: which call told it, and which call made that one.

    The calls of a run form a tree: its root is the agent itself, whose `parent_id` is None; below it are the calls that
    its code made. A call of `rlm_query` is the agent that answers it: what that agent tells has the call's id.
    """

    call_id: str
    parent_id: str | None = None


class TurnEvent(Event):
    """The model has replied."""

    kind: Literal["turn"] = "turn"
    number: NonNegativeInt
    """Of the reply to this question, from 1."""
    text: str
    chars: NonNegativeInt
    """Of the whole text."""


class CellEvent(Event):
    """A cell is about to run."""

    kind: Literal["cell"] = "cell"
    language: str
    code: str
    chars: NonNegativeInt


class OutputEvent(Event):
    """A cell has run."""

    kind: Literal["output"] = "output"
    number: NonNegativeInt
    """Of the cell in its run, from 1."""
    status: Literal["ok", "error", "final", "killed"]
    stdout: str
    stderr: str
    value: str | None = None
    error: str | None = None
    """As `ValueError: its words`."""
    calls: NonNegativeInt = 0
    """Calls to the host that it made."""


class CallEvent(Event):
    """A call of code's is about to be made; each prompt of a batch is one. What a child then tells has its id."""

    kind: Literal["call"] = "call"
    function: str
    """`llm_query`, `rlm_query` or the name of a tool."""
    agent: str | None = None
    """The specialist that is asked."""
    prompt: str


class SubcallEvent(Event):
    """A call that code made has been answered; each prompt of a batch is one."""

    kind: Literal["subcall"] = "subcall"
    function: str
    """`llm_query`, `rlm_query` or the name of a tool."""
    agent: str | None = None
    """The specialist that was asked."""
    prompt: str
    reply: str
    error: str | None = None
    usage: Usage


class BudgetEvent(Event):
    """What has been spent, after each step that spends."""

    kind: Literal["budget"] = "budget"
    spent: Usage
    """By the whole run, or by the child that tells it, for the present question."""
    budget: Budget
    ceiling: Ceiling | None = None
    """The one that was met."""


class AnswerEvent(Event):
    """The run has its answer."""

    kind: Literal["answer"] = "answer"
    text: str
    chars: NonNegativeInt
    complete: bool
    ceiling: Ceiling | None = None


Node = Callable[..., Awaitable[Mapping[str, Any]]]


def telling(node: Node) -> Node:
    """Return the agent's node, and have it tell of what it has done."""

    @functools.wraps(node)
    async def told(state: Any, **given: Any) -> Mapping[str, Any]:
        update = await node(state, **given)
        for event in _of_agent(state, update):
            _write(event)
        return update

    return told


def telling_call(node: Node) -> Node:
    """Return the node that answers one request of a `Ticket`, and have it tell before and after."""

    @functools.wraps(node)
    async def told(errand: Any, **given: Any) -> Mapping[str, Any]:
        runtime = get_runtime(Ticket)
        about = _about(runtime.context.requests[errand["index"]])
        if runtime.execution_info is None or runtime.execution_info.node_attempt == 1:
            _write(CallEvent(**about))
        update = await node(errand, **given)
        for reply in update["replies"].values():
            _write(_of_call(about, reply))
        return update

    return told


def tell_cell(cell: Cell) -> None:
    """Tell that the agent whose node runs now is about to run the cell."""
    _write(CellEvent(**_ids(), language=cell.language, code=_cut(cell.code), chars=len(cell.code)))


def tell_output(execution: Execution) -> None:
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


def call_of(namespace: str) -> tuple[str, str | None]:
    """Return the ids of the call, and of the one that made it, to which a node's checkpoint namespace belongs.

    For the tokens of LangGraph's stream mode `messages`, whose metadata has `langgraph_checkpoint_ns`.
    """
    path = namespace.split("|")
    *above, last = path
    if last.partition(":")[0] == "call":
        return _id(path), _id(above[:-2])
    return _id(above), _parent(above)


def _write(event: Event) -> None:
    get_runtime().stream_writer(event)


def _ids() -> dict[str, Any]:
    call_id, parent_id = call_of(get_config()["configurable"]["checkpoint_ns"])
    return {"call_id": call_id, "parent_id": parent_id}


def _parent(agent: list[str]) -> str | None:
    """An agent that a call asked lies below the parent's act, the call's own name and the node that recursed."""
    return _id(agent[:-3]) if agent and agent[-1].partition(":")[0] == "recurse" else None


def _id(path: list[str]) -> str:
    return hashlib.sha256("|".join(path).encode()).hexdigest()[:16]


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
            **ids, text=_cut(answer.text), chars=len(answer.text), complete=answer.complete, ceiling=answer.ceiling
        )


def _about(request: Request) -> dict[str, Any]:
    """Return what the events of a call have in common."""
    path = get_config()["configurable"]["checkpoint_ns"].split("|")
    function, agent, text = described(request)
    ids = {"call_id": _id(path), "parent_id": _id(path[:-3])}
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
