"""What a scripted model is asked and what it answers, apart from how either travels."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

CHARS_PER_TOKEN = 4
"""Scripted token counts are characters divided by this, rounded up: equal texts always cost the same."""


def count_tokens(text: str) -> int:
    """Return the scripted token count of `text`."""
    return -(-len(text) // CHARS_PER_TOKEN)


@dataclass(frozen=True)
class ScriptedRequest:
    """One request for a chat completion, as it came over the wire."""

    number: int
    """Its place among all requests to the server, from 1. Concurrent requests are numbered in order of arrival."""
    body: Mapping[str, Any]
    """The whole JSON body: `model`, `messages`, `tools`, `temperature` and so on."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """By lower-case name."""

    @property
    def model(self) -> str:
        """The model that was asked for."""
        return str(self.body.get("model", ""))

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The conversation, in OpenAI's form."""
        return list(self.body.get("messages", ()))

    @property
    def tools(self) -> list[dict[str, Any]]:
        """The tools that the model may call, in OpenAI's form."""
        return list(self.body.get("tools") or ())

    @property
    def stream(self) -> bool:
        """Whether the client wants the reply as server-sent events."""
        return bool(self.body.get("stream"))

    @property
    def prompt(self) -> str:
        """The text of the last message: what the model was just told."""
        return text_of(self.messages[-1].get("content")) if self.messages else ""

    @property
    def text(self) -> str:
        """The text of all messages, one after the other."""
        return "\n".join(text_of(message.get("content")) for message in self.messages)


def text_of(content: object) -> str:
    """Return the text of a message's content, which may be a string, a list of parts or null."""
    if isinstance(content, str):
        return content
    if isinstance(content, Sequence):
        return "".join(part.get("text") or "" for part in content if isinstance(part, Mapping))
    return ""


@dataclass(frozen=True)
class ScriptedCall:
    """A native tool call in a reply."""

    name: str
    arguments: Mapping[str, Any] | str = field(default_factory=dict)
    """A string goes out as it is, so that malformed arguments can be scripted."""
    id: str = ""
    """By default `call_1`, `call_2` and so on within the reply."""

    def as_openai(self, position: int) -> dict[str, Any]:
        """Return OpenAI's form of the call that is the reply's `position`-th, from 0."""
        arguments = self.arguments if isinstance(self.arguments, str) else json.dumps(dict(self.arguments))
        return {
            "id": self.id or f"call_{position + 1}",
            "type": "function",
            "function": {"name": self.name, "arguments": arguments},
        }


@dataclass(frozen=True)
class ScriptedReply:
    """What the server does with one request. The plain case is `ScriptedReply("text")`, or just the string."""

    text: str | None = ""
    """The content; None sends `null`."""
    tool_calls: Sequence[ScriptedCall] = ()
    reasoning: str = ""
    """What the model thought, sent in the field `reasoning_field`."""
    reasoning_field: str = "reasoning_content"
    refusal: str = ""
    """What the model said instead of an answer, in the field of that name."""
    finish_reason: str = ""
    """By default `tool_calls` if there are any, else `stop`."""
    input_tokens: int | None = None
    """By default counted from the messages, see `count_tokens`."""
    output_tokens: int | None = None
    cached_tokens: int = 0
    """The part of `input_tokens` that the provider had cached."""
    usage: bool = True
    """Whether the reply states its tokens at all."""
    reasoning_tokens: int = 0
    """The part of `output_tokens` that was thinking."""
    stated_usage: Any = None
    """Sent as `usage` as it is, in place of the counts: for servers that count wrongly."""
    delay_s: float = 0.0
    """Seconds until the reply starts."""
    gate: threading.Event | None = None
    """The reply starts when this is set."""
    chunk_chars: int = 16
    """Characters of one streamed chunk."""
    stall_after: int | None = None
    """Chunks after which a stream falls silent, with the connection open, until `gate` is set or the server stops."""
    drop_after: int | None = None
    """Chunks after which the connection is cut; in a reply that is not streamed, it is cut instead of answering."""
    close_after: int | None = None
    """Chunks after which a stream ends without a word, though the connection is closed in good order."""
    whole: bool = False
    """Send the whole reply even where a stream was asked for."""
    parts: bool = False
    """Send the content as a list of parts."""
    refuses: Sequence[str] = ()
    """Fields of a request that the server does not know: with any of them, the answer is an error that names it."""
    status: int = 200
    error: str | Mapping[str, Any] = ""
    """The message of an error reply, or its whole `error` object. With `status` 200 it is sent within the stream."""
    headers: Mapping[str, str] = field(default_factory=dict)
    raw: bytes | None = None
    """The body as it is, whatever the client expects: for malformed replies."""

    @property
    def chunks(self) -> list[str]:
        """The text as it is streamed."""
        text = self.text or ""
        return [text[start : start + self.chunk_chars] for start in range(0, len(text), self.chunk_chars)]

    @property
    def error_body(self) -> dict[str, Any]:
        """The JSON body of an error reply, in OpenAI's form."""
        if isinstance(self.error, str):
            return {"error": {"message": self.error, "type": "scripted_error", "param": None, "code": None}}
        return {"error": dict(self.error)}

    def reason(self) -> str:
        """Return why the model stopped, as the wire names it."""
        return self.finish_reason or ("tool_calls" if self.tool_calls else "stop")

    def tokens(self, request: ScriptedRequest) -> dict[str, Any]:
        """Return the `usage` object that answers `request`."""
        spoken = (self.text or "") + self.reasoning
        spoken += "".join(call.as_openai(0)["function"]["arguments"] for call in self.tool_calls)
        given = count_tokens(request.text) if self.input_tokens is None else self.input_tokens
        written = count_tokens(spoken) if self.output_tokens is None else self.output_tokens
        usage: dict[str, Any] = {
            "prompt_tokens": given,
            "completion_tokens": written,
            "total_tokens": given + written,
        }
        if self.cached_tokens:
            usage["prompt_tokens_details"] = {"cached_tokens": self.cached_tokens}
        if self.reasoning_tokens:
            usage["completion_tokens_details"] = {"reasoning_tokens": self.reasoning_tokens}
        return usage if self.stated_usage is None else self.stated_usage

    def content(self, text: str) -> Any:
        """Return the form in which a piece of the text is sent."""
        return [{"type": "text", "text": text}] if self.parts else text

    def for_request(self, request: ScriptedRequest) -> ScriptedReply:
        """Return what answers `request`: this, or the error about a field that it should not hold."""
        wrong = next((name for name in self.refuses if request.body.get(name)), None)
        if wrong is None:
            return self
        advice = " Use 'max_completion_tokens' instead." if wrong == "max_tokens" else ""
        return ScriptedReply(status=400, error=f"Unsupported parameter: '{wrong}' is not supported here.{advice}")


Script = Callable[[ScriptedRequest], ScriptedReply | str] | Sequence[ScriptedReply | str]
"""A function of the request, called from several threads at once, or the replies in the order of the requests."""


def reply_to(script: Script, request: ScriptedRequest) -> ScriptedReply:
    """Return what `script` answers. A script that fails or has ended answers with an error that no client retries."""
    try:
        reply = script(request) if callable(script) else script[request.number - 1]
    except IndexError as error:
        ended = "the script has ended" if not callable(script) else f"the script failed: {error!r}"
        return ScriptedReply(status=400, error=f"{ended}, at request {request.number}")
    except Exception as error:  # whatever a script raises must reach its author, who sees only the client
        return ScriptedReply(status=400, error=f"the script failed: {error!r}, at request {request.number}")
    return (ScriptedReply(reply) if isinstance(reply, str) else reply).for_request(request)
