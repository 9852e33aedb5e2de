"""The conversation before a question, in the form in which every provider takes it.

Several refuse two messages of one side in a row, a conversation that the assistant begins, a system message in the
middle, tool calls in a request that names no tools, and calls without their results. Front ends, supervisors and other
agents hand over all of these.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from langchain_core.messages import AIMessage, AnyMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage

from rlm_graph.dialogue import NO_WORDS

MAX_ARGUMENTS = 500
"""Characters of a call's arguments that are told."""


def alternating(messages: Iterable[AnyMessage], *, after: AnyMessage | None) -> list[AnyMessage]:
    """Return what is to follow the message `after` in a dialogue: a human and the model by turns, a human first.

    Calls of tools that others had, and what these returned, are told in words. Of messages that are put together, the
    last one keeps its id. The messages themselves are not changed. Tool messages that answer `after` stay.
    """
    kept: list[AnyMessage] = []
    for message in messages:
        last = kept[-1] if kept else after
        if isinstance(message, ToolMessage) and _answers(message, [*([after] if after else []), *kept]):
            kept.append(message)
            continue
        plain = _plain(message)
        if isinstance(plain, AIMessage) and (last is None or isinstance(last, SystemMessage)):
            kept.append(HumanMessage(NO_WORDS))
        if kept and type(kept[-1]) is type(plain):
            kept[-1] = plain.model_copy(update={"content": _joined(kept[-1].content, plain.content)})
        else:
            kept.append(plain)
    return kept


def _answers(message: ToolMessage, before: Sequence[AnyMessage]) -> bool:
    """Tell whether the message answers a call that the dialogue itself holds, in the form that providers want."""
    said = next((one for one in reversed(before) if isinstance(one, AIMessage)), None)
    return said is not None and message.tool_call_id in {call["id"] for call in said.tool_calls}


def _plain(message: BaseMessage) -> HumanMessage | AIMessage:
    """Return the message as one of a human or of the model, without calls."""
    if isinstance(message, HumanMessage):
        return message
    if isinstance(message, AIMessage):
        if not message.tool_calls and not message.invalid_tool_calls:
            return AIMessage(message.content or NO_WORDS, id=message.id)
        calls = "\n".join(_call(call["name"], call["args"]) for call in message.tool_calls)
        words = "\n\n".join(filter(None, (message.text, calls)))
        return AIMessage(words or NO_WORDS, id=message.id)
    if isinstance(message, SystemMessage):
        return HumanMessage(f"[The application said: {message.text}]", id=message.id)
    name = f"the tool {message.name}" if message.name else "a tool"
    who = name if isinstance(message, ToolMessage) else message.type
    return HumanMessage(f"[{who[:1].upper()}{who[1:]} returned: {message.text}]", id=message.id)


def _call(name: str, arguments: Any) -> str:
    return f"[Called the tool {name} with {json.dumps(arguments, ensure_ascii=False, default=str)[:MAX_ARGUMENTS]}]"


def _joined(first: Any, second: Any) -> Any:
    if isinstance(first, str) and isinstance(second, str):
        return "\n\n".join(filter(None, (first, second)))
    return [*_blocks(first, ends=True), *_blocks(second)]


def _blocks(content: Any, *, ends: bool = False) -> list[Any]:
    if not isinstance(content, str):
        return list(content)
    return [{"type": "text", "text": f"{content}\n\n" if ends else content}] if content else []
