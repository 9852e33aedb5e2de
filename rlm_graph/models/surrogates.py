"""What checkpoints have no form for, in messages: text that has no UTF-8, and integers of more than 64 bits."""

from __future__ import annotations

import operator
from typing import Any, TypeVar

from langchain_core.messages import AIMessage, BaseMessage

from rlm_graph.surrogates import each_text
from rlm_graph.value import INTEGERS

M = TypeVar("M", bound=BaseMessage)


def storable(message: M) -> M:
    """Return the message with U+FFFD in the place of each lone surrogate, and long integers of tool calls as texts.

    It is the message itself if it holds none of these.
    """
    texts: dict[str, Any] = {"content": message.content, "additional_kwargs": message.additional_kwargs}
    if isinstance(message, AIMessage):
        texts |= {"tool_calls": message.tool_calls, "invalid_tool_calls": message.invalid_tool_calls}
    changed = {field: clean for field, value in texts.items() if (clean := _clean(value)) is not value}
    return message.model_copy(update=changed) if changed else message


def _clean(value: Any) -> Any:
    try:
        return each_text(_without_long_integers(value))
    except ValueError:  # of more digits than Python writes in decimal: no JSON gives one
        return each_text(value)


def _without_long_integers(value: Any) -> Any:
    if isinstance(value, int) and value not in INTEGERS:
        return str(value)
    if isinstance(value, list):
        items = [_without_long_integers(item) for item in value]
        return value if all(map(operator.is_, items, value)) else items
    if isinstance(value, dict):
        changed = {key: new for key, old in value.items() if (new := _without_long_integers(old)) is not old}
        return {**value, **changed} if changed else value
    return value
