"""Messages as OpenAI's protocol has them, each encoded once."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
    convert_to_openai_data_block,
    is_data_content_block,
)

from rlm_graph.per_message import OncePerMessage
from rlm_graph.surrogates import each_text

CACHE_MARK = {"type": "ephemeral"}

_NOT_CONTENT = frozenset(
    {
        "function_call", "invalid_tool_call", "reasoning", "reasoning_content", "redacted_thinking",
        "server_tool_call", "server_tool_result", "thinking", "tool_call", "tool_call_chunk", "tool_use",
    }
)  # fmt: skip
"""Blocks that travel in a field of their own or not at all: a server refuses them within the content."""


def marked(message: BaseMessage) -> bytes:
    """Return the message as JSON with the mark that the provider may keep all up to here."""
    converted = as_openai(message)
    content = converted.get("content")
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else list(content or ())
    if not parts or not isinstance(parts[-1], dict) or parts[-1].get("text") == "":
        return encoded(message)
    return dumped({**converted, "content": [*parts[:-1], {**parts[-1], "cache_control": CACHE_MARK}]})


def dumped(value: Any) -> bytes:
    """Return the value as JSON in UTF-8, lone surrogates replaced by U+FFFD."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    try:
        return text.encode()
    except UnicodeEncodeError:
        return json.dumps(each_text(value), ensure_ascii=False, separators=(",", ":")).encode()


def as_openai(message: BaseMessage) -> dict[str, Any]:
    """Return OpenAI's form of a message. Raises `ValueError` for a kind of message that it has no form for."""
    converted: dict[str, Any] = {"role": _role(message), "content": _content(message.content)}
    if isinstance(message, AIMessage):
        if message.tool_calls:
            converted["tool_calls"] = [_call(call) for call in message.tool_calls]
        elif message.additional_kwargs.get("tool_calls") and not message.invalid_tool_calls:
            converted["tool_calls"] = message.additional_kwargs["tool_calls"]
        if "reasoning_content" in message.additional_kwargs:
            # Some want a model's thinking back with its tool calls; the rest ignore it.
            converted["reasoning_content"] = message.additional_kwargs["reasoning_content"]
    elif isinstance(message, ToolMessage):
        converted["tool_call_id"] = message.tool_call_id
    elif isinstance(message, FunctionMessage):
        converted["name"] = message.name
    return converted


def _role(message: BaseMessage) -> str:
    if isinstance(message, ChatMessage):
        return message.role
    for kind, role in (
        (HumanMessage, "user"),
        (AIMessage, "assistant"),
        (SystemMessage, "system"),
        (ToolMessage, "tool"),
        (FunctionMessage, "function"),
    ):
        if isinstance(message, kind):
            return role
    raise ValueError(f"a message of type {message.type} cannot be sent to a model")


def _content(content: str | Sequence[str | Mapping[str, Any]]) -> str | list[Any]:
    if isinstance(content, str):
        return content
    blocks: list[Any] = []
    for block in content:
        if isinstance(block, str):
            blocks.append({"type": "text", "text": block})
        elif block.get("type") in _NOT_CONTENT:
            continue
        elif block.get("type") == "text":
            kept = {name: block[name] for name in ("type", "text", "cache_control") if name in block}
            blocks.append(kept)
        elif is_data_content_block(dict(block)) and not (block["type"] == "file" and "file" in block):
            blocks.append(convert_to_openai_data_block(dict(block)))
        else:
            blocks.append(block)
    return blocks or ""


def _call(call: Mapping[str, Any]) -> dict[str, Any]:
    arguments = json.dumps(call["args"], ensure_ascii=False)
    return {"type": "function", "id": call["id"], "function": {"name": call["name"], "arguments": arguments}}


encoded = OncePerMessage(lambda message: dumped(as_openai(message)))
"""Returns a message as JSON."""
