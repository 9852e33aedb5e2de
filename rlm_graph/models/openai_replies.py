"""Replies of OpenAI's protocol, whole and streamed, and what servers make of it."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk, InvalidToolCall, ToolCall
from langchain_core.messages.ai import InputTokenDetails, OutputTokenDetails, UsageMetadata
from langchain_core.messages.tool import ToolCallChunk

from rlm_graph.models.errors import ServerError

MAX_BYTES = 64_000_000
"""Of one event, or of a reply that is not streamed: more is no reply of a language model."""

MAX_TOKENS = 10**12
"""Of one reply: a larger count is a mistake of the server."""

_TITLE = re.compile(rb"<title[^>]*>\s*([^<]{1,100})", re.IGNORECASE)


async def events(pieces: AsyncIterator[bytes]) -> AsyncGenerator[dict[str, Any] | None, None]:
    """Yield the JSON of each server-sent event in the pieces of a body, and None for `[DONE]`.

    Some servers put no empty line between their events, and some send a line of JSON for each, or the whole reply in
    one. Raises `ServerError` for an event that is no JSON object.
    """
    data: list[bytes] = []
    async for line in _lines(pieces):
        if line.startswith(b"data:"):
            if data and _is_whole(data):
                yield _event(b"\n".join(data))
                data = []
            data.append(line[5:].lstrip(b" "))
        elif not line and data:
            yield _event(b"\n".join(data))
            data = []
        elif line.startswith(b"{"):
            yield _event(line)
        elif line.startswith(b"<"):
            raise _no_reply(line)
    if data:
        yield _event(b"\n".join(data))


def _is_whole(data: Sequence[bytes]) -> bool:
    try:
        loaded(b"\n".join(data))
    except ValueError:
        return data == [b"[DONE]"]
    return True


async def _lines(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield the lines of a body, which end in LF, CR LF or CR, the last perhaps in nothing."""
    rest = b""
    parts: list[bytes] = []
    held = 0
    async for piece in pieces:
        if b"\n" not in piece:  # a long line is put together once, not at each of its pieces
            parts.append(piece)
            held += len(piece)
            if held > MAX_BYTES:
                raise ServerError(f"the server sent a line of over {MAX_BYTES:,} bytes")
            continue
        *lines, rest = b"".join([*parts, piece]).split(b"\n")
        parts, held = [rest], len(rest)
        for line in lines:
            for part in line.removesuffix(b"\r").removeprefix(b"\xef\xbb\xbf").split(b"\r"):
                yield part
    if last := b"".join(parts):
        for part in last.removesuffix(b"\r").removeprefix(b"\xef\xbb\xbf").split(b"\r"):
            yield part


def _event(data: bytes) -> dict[str, Any] | None:
    if data.strip() == b"[DONE]":
        return None
    try:
        event = loaded(data)
    except ValueError as error:
        raise _no_reply(data) from error
    if not isinstance(event, dict):
        raise _no_reply(data)
    return event


def loaded(text: str | bytes) -> Any:
    """Read JSON as servers write it, line ends in texts included. Raises `ValueError` for what is none, or too deep."""
    try:
        return json.loads(text, strict=False)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def parsed(body: bytes, kind: str) -> dict[str, Any]:
    """Return the JSON object of a body whose content type is `kind`. Raises `ServerError` if it is none."""
    try:
        reply = loaded(body)
    except ValueError as error:
        raise _no_reply(body, kind) from error
    if not isinstance(reply, dict):
        raise _no_reply(body, kind)
    return reply


def _no_reply(body: bytes, kind: str = "") -> ServerError:
    start = body[:2000].lstrip()
    if "html" in kind or start[:1] == b"<":
        title = _TITLE.search(body[:20_000])
        named = f" ({title[1].decode('utf-8', 'replace').strip()!r})" if title else ""
        return ServerError(
            f"the server answered with a web page{named} instead of a reply; is that the sign-in page of a proxy, or a "
            f"base URL without its /v1?"
        )
    shown = start[:200].decode("utf-8", "replace") or "nothing"
    return ServerError(f"the server's reply is not one of OpenAI's protocol; it sent: {shown}")


def raise_for_error(event: Mapping[str, Any]) -> None:
    """Raise `ServerError` if the event or reply is an error, which some servers send under status 200."""
    error = event if event.get("object") == "error" else event.get("error")
    if not error or event.get("choices"):
        return
    code = error.get("code") if isinstance(error, dict) else None
    status = code if isinstance(code, int) and 400 <= code < 600 else None
    raise ServerError(json.dumps({"error": error}), status=status, code=code)


def message_of(reply: Mapping[str, Any]) -> AIMessage:
    """Return the message of a reply that came whole. Raises `ServerError` if it holds none."""
    raise_for_error(reply)
    choice = _choice(reply)
    if choice is None:
        raise ServerError(f"the reply held no message: {json.dumps(reply)[:200]}")
    said = _said(choice.get("message") or choice.get("delta") or choice.get("text"))
    calls: list[ToolCall] = []
    invalid: list[InvalidToolCall] = []
    for position, call in enumerate(_objects(said.get("tool_calls"))):
        function = _object(call.get("function"))
        name, arguments = _text(function.get("name")), function.get("arguments")
        identity = _text(call.get("id")) or f"call_{position}"
        try:
            given = arguments if isinstance(arguments, dict) else loaded(_text(arguments) or "{}")
            if not isinstance(given, dict) or not name:
                raise ValueError("no arguments by name")
            calls.append(ToolCall(name=name, args=given, id=identity, type="tool_call"))
        except ValueError as error:
            invalid.append(
                InvalidToolCall(name=name, args=str(arguments), id=identity, error=str(error), type="invalid_tool_call")
            )
    text, thoughts = _content(said)
    return AIMessage(
        text,
        tool_calls=calls,
        invalid_tool_calls=invalid,
        additional_kwargs=_aside(said, thoughts),
        response_metadata={**_metadata(reply), "finish_reason": _text(choice.get("finish_reason")) or None},
        usage_metadata=usage_of(reply),
    )


def chunk_of(event: Mapping[str, Any]) -> AIMessageChunk:
    """Return the piece of a message that an event of a stream holds."""
    choice = _choice(event) or {}
    said = _said(choice.get("delta") or choice.get("message"))
    text, thoughts = _content(said)
    calls = []
    for position, call in enumerate(_objects(said.get("tool_calls"))):
        function = _object(call.get("function"))
        arguments, index = function.get("arguments"), call.get("index")
        calls.append(
            ToolCallChunk(
                name=_text(function.get("name")) or None,
                args=json.dumps(arguments) if isinstance(arguments, dict) else _text(arguments),
                id=_text(call.get("id")) or None,
                index=index if isinstance(index, int) else position,
                type="tool_call_chunk",
            )
        )
    reason = _text(choice.get("finish_reason"))
    return AIMessageChunk(
        content=text,
        tool_call_chunks=calls,
        additional_kwargs=_aside(said, thoughts),
        response_metadata={**_metadata(event), "finish_reason": reason} if reason else {},
        usage_metadata=usage_of(event),
    )


def _choice(reply: Mapping[str, Any]) -> Mapping[str, Any] | None:
    choices = reply.get("choices")
    found = choices[0] if isinstance(choices, list) and choices else None
    return found if isinstance(found, dict) else None


def _said(part: Any) -> Mapping[str, Any]:
    """Return a message, or a piece of one; what is no object is its content."""
    return part if isinstance(part, dict) else {"content": part}


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _objects(value: Any) -> list[Mapping[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _text(value: Any) -> str:
    """Return a text, and what a server sends in the place of one in Python's words."""
    return value if isinstance(value, str) else "" if value is None else str(value)


def _content(said: Mapping[str, Any]) -> tuple[str, str]:
    """Return the text of a message and its thoughts; some servers send either as a list of parts."""
    texts, thoughts = [], [_text(said.get("reasoning_content") or said.get("reasoning"))]
    content = said.get("content")
    for part in content if isinstance(content, list) else [content]:
        thinking = _object(part).get("thinking") or _object(part).get("reasoning")
        if thinking:
            nested = thinking if isinstance(thinking, list) else [thinking]
            thoughts += [_text(each.get("text") if isinstance(each, dict) else each) for each in nested]
        else:
            texts.append(_text(part.get("text") if isinstance(part, dict) else part))
    return "".join(texts), "".join(thoughts)


def _aside(said: Mapping[str, Any], thoughts: str) -> dict[str, Any]:
    refusal, annotations = _text(said.get("refusal")), _objects(said.get("annotations"))
    aside = {"reasoning_content": thoughts, "refusal": refusal, "annotations": annotations}
    return {name: value for name, value in aside.items() if value}


def _metadata(reply: Mapping[str, Any]) -> dict[str, Any]:
    told = {
        "model_name": reply.get("model"),
        "id": reply.get("id"),
        "system_fingerprint": reply.get("system_fingerprint"),
    }
    return {name: value for name, value in told.items() if isinstance(value, str)}


def usage_of(reply: Mapping[str, Any]) -> UsageMetadata | None:
    """Return the tokens that a reply states; None if it states none, or such as cannot be."""
    usage = reply.get("usage")
    if not isinstance(usage, dict):
        return None
    given, written = _count(usage, "prompt_tokens", "input_tokens"), _count(usage, "completion_tokens", "output_tokens")
    if not given or written is None:
        return None
    read, wrote = usage.get("prompt_tokens_details") or {}, usage.get("completion_tokens_details") or {}
    cached = _count(read, "cached_tokens")
    if cached is None:
        cached = _count(usage, "prompt_cache_hit_tokens")  # DeepSeek's
    kept = _count(read, "cache_creation_tokens", "cache_write_tokens")
    heard, thought = _count(read, "audio_tokens"), _count(wrote, "reasoning_tokens")
    details = InputTokenDetails()
    if cached is not None:
        details["cache_read"] = min(cached, given)
    if kept is not None:
        details["cache_creation"] = kept
    if heard:
        details["audio"] = heard
    counted = UsageMetadata(input_tokens=given, output_tokens=written, total_tokens=given + written)
    if details:
        counted["input_token_details"] = details
    if thought is not None:
        counted["output_token_details"] = OutputTokenDetails(reasoning=thought)
    return counted


def _count(counts: Any, *names: str) -> int | None:
    for name in names:
        value = counts.get(name) if isinstance(counts, dict) else None
        if isinstance(value, str) and value.isdecimal() and len(value) < 20:
            value = int(value)
        # A count that JSON can write may be none: NaN, or more than any model reads in a year.
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= MAX_TOKENS:
            return int(value)
    return None
