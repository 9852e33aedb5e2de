"""OpenAI's form of a scripted reply, whole and streamed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rlm_graph.testing.script import ScriptedReply, ScriptedRequest

CREATED = 1_700_000_000
"""Unix seconds at which every scripted completion claims to have been made: replies do not depend on the clock."""


def completion(request: ScriptedRequest, reply: ScriptedReply) -> dict[str, Any]:
    """Return the body of a reply that is not streamed."""
    content = None if reply.text is None else reply.content(reply.text)
    message: dict[str, Any] = {"role": "assistant", "content": content}
    if reply.reasoning:
        message[reply.reasoning_field] = reply.reasoning
    if reply.refusal:
        message["refusal"] = reply.refusal
    if reply.tool_calls:
        message["tool_calls"] = [call.as_openai(position) for position, call in enumerate(reply.tool_calls)]
    body = _envelope(request, "chat.completion")
    body["choices"] = [{"index": 0, "message": message, "finish_reason": reply.reason(), "logprobs": None}]
    if reply.usage:
        body["usage"] = reply.tokens(request)
    return body


def stream_events(request: ScriptedRequest, reply: ScriptedReply) -> Iterator[dict[str, Any]]:
    """Yield the events of a streamed reply: the opening, the text, the tool calls, the reason, the tokens."""

    def event(delta: dict[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason, "logprobs": None}
        return {**_envelope(request, "chat.completion.chunk"), "choices": [choice]}

    yield event({"role": "assistant", "content": None if reply.text is None else ""})
    if reply.reasoning:
        yield event({reply.reasoning_field: reply.reasoning})
    if reply.refusal:
        yield event({"refusal": reply.refusal})
    for chunk in reply.chunks:
        yield event({"content": reply.content(chunk)})
    if reply.error:
        yield reply.error_body
        return
    for position, call in enumerate(reply.tool_calls):
        yield event({"tool_calls": [{"index": position, **call.as_openai(position)}]})
    yield event({}, reply.reason())
    wanted = (request.body.get("stream_options") or {}).get("include_usage")
    if reply.usage and wanted:
        yield {**_envelope(request, "chat.completion.chunk"), "choices": [], "usage": reply.tokens(request)}


def _envelope(request: ScriptedRequest, kind: str) -> dict[str, Any]:
    return {"id": f"chatcmpl-{request.number}", "object": kind, "created": CREATED, "model": request.model}
