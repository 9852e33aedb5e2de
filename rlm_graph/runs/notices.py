"""What a run tells who looks on: the notices of its work, numbered from 1."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from rlm_graph.budget import Usage
from rlm_graph.errors import Hint
from rlm_graph.events import Event, call_of
from rlm_graph.langgraph_internals import namespace_of_message, namespace_parts, node_of
from rlm_graph.state import SubcallReply, Turn
from rlm_graph.storage.runs import Status
from rlm_graph.value import Value


class Begun(Value):
    """Work on the run has begun: it is held, and its entry is there."""

    kind: Literal["begun"] = "begun"
    run: str
    usage: Usage
    """What had been spent before."""


class Step(Value):
    """A node of the agent has ended, or one of the graphs below it."""

    kind: Literal["step"] = "step"
    node: str
    inner: bool
    """Whether the node belongs to a graph below the agent: a call of its code, or a child."""
    turns: tuple[Turn, ...] = ()
    """The turns that the agent's node has completed."""
    spent: Usage | None = None
    """By this step. Of an inner one, the calls that were answered: the turn that made them counts them once more."""
    anew: bool = False
    """Whether the count starts from nothing again: another question was asked."""


class Token(Value):
    """A piece of what a model writes, told where the caller asked for tokens."""

    kind: Literal["token"] = "token"
    call_id: str
    """As in the events of the same call."""
    parent_id: str | None = None
    text: str


class Ended(Value):
    """Work on the run has ended, for now or for good."""

    kind: Literal["ended"] = "ended"
    status: Status
    usage: Usage
    error: str | None = None
    """Why it failed, in the words of no door."""
    hints: tuple[Hint, ...] = ()
    """What can be done about that."""


Body = Begun | Step | Token | Event | Ended


@dataclass(frozen=True)
class Notice:
    """One thing that a run told. Numbers go from 1, in the order in which things were told."""

    number: int
    body: Body


def bodies(namespace: tuple[str, ...], mode: str, part: Any) -> Iterator[Body]:
    """Read one part of LangGraph's stream; what others tell in the same stream is passed over."""
    match mode:
        case "custom" if isinstance(part, Event):
            yield part
        case "messages":
            message, metadata = part
            told_in = namespace_of_message(metadata)
            if _is_of_a_model(message, told_in) and message.text:
                call_id, parent_id = call_of(told_in)
                yield Token(call_id=call_id, parent_id=parent_id, text=str(message.text))
        case "updates" if isinstance(part, dict):
            for node, change in part.items():
                if isinstance(change, dict):
                    yield _inner(node, change) if namespace else _step(node, change)


def _is_of_a_model(message: Any, namespace: str) -> bool:
    """Tell what a model writes from the messages that nodes add: observations, and the answer that finalize gives."""
    from langchain_core.messages import AIMessage, AIMessageChunk

    if isinstance(message, AIMessageChunk):
        return True
    return isinstance(message, AIMessage) and node_of(namespace_parts(namespace)[-1]) != "finalize"


def _step(node: str, change: dict[str, Any]) -> Step:
    usage = change.get("usage")
    spent = usage if isinstance(usage, Usage) else None
    # LangGraph's `Overwrite` stands in the place of the usage where a question starts the count anew.
    return Step(
        node=node,
        inner=False,
        turns=tuple(change.get("turns") or ()),
        spent=spent,
        anew=usage is not None and spent is None,
    )


def _inner(node: str, change: dict[str, Any]) -> Step:
    replies = [reply for reply in (change.get("replies") or {}).values() if isinstance(reply, SubcallReply)]
    return Step(node=node, inner=True, spent=sum((reply.usage for reply in replies), Usage()) if replies else None)
