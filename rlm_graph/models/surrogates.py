"""Text that has no UTF-8, in messages."""

from __future__ import annotations

from typing import Any, TypeVar

from langchain_core.messages import AIMessage, BaseMessage

from rlm_graph.surrogates import each_text

M = TypeVar("M", bound=BaseMessage)


def storable(message: M) -> M:
    """Return the message with U+FFFD in the place of each lone surrogate; the message itself if it holds none."""
    texts: dict[str, Any] = {"content": message.content, "additional_kwargs": message.additional_kwargs}
    if isinstance(message, AIMessage):
        texts |= {"tool_calls": message.tool_calls, "invalid_tool_calls": message.invalid_tool_calls}
    changed = {field: clean for field, value in texts.items() if (clean := each_text(value)) is not value}
    return message.model_copy(update=changed) if changed else message
