"""What checkpoints have no form for, in messages: text without UTF-8, integers of more than 64 bits, deep nesting."""

from __future__ import annotations

import json
import operator
from typing import Any, TypeVar

from langchain_core.messages import AIMessage, BaseMessage

from rlm_graph.surrogates import each_text
from rlm_graph.value import INTEGERS

M = TypeVar("M", bound=BaseMessage)

MAX_DEPTH = 200
"""Levels of lists and dicts in one part of a message. pydantic, and LangGraph's serializer with it, ends at 255."""


def storable(message: M) -> M:
    """Return the message with U+FFFD in the place of each lone surrogate, and as texts in JSON what tool calls hold of
    long integers, and of values that are nested deeper than `MAX_DEPTH`.

    It is the message itself if it holds none of these.
    """
    texts: dict[str, Any] = {"content": message.content, "additional_kwargs": message.additional_kwargs}
    if isinstance(message, AIMessage):
        texts |= {"tool_calls": message.tool_calls, "invalid_tool_calls": message.invalid_tool_calls}
    changed = {field: clean for field, value in texts.items() if (clean := _clean(value)) is not value}
    return message.model_copy(update=changed) if changed else message


def _clean(value: Any) -> Any:
    try:
        return each_text(_writable(value))
    except ValueError:  # of more digits than Python writes in decimal: no JSON gives one
        return each_text(value)


def _writable(value: Any, levels: int = MAX_DEPTH) -> Any:
    if isinstance(value, int) and value not in INTEGERS:
        return str(value)
    if not isinstance(value, list | dict):
        return value
    if not levels:
        return _as_text(value)
    if isinstance(value, list):
        items = [_writable(item, levels - 1) for item in value]
        return value if all(map(operator.is_, items, value)) else items
    changed = {key: new for key, old in value.items() if (new := _writable(old, levels - 1)) is not old}
    return {**value, **changed} if changed else value


def _as_text(value: Any) -> str:
    try:
        return json.dumps(value, default=str)
    except RecursionError:
        return "(nested too deeply)"
