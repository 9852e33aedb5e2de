"""What servers make of OpenAI's protocol: each way of a reply is read, or said to be none."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from langchain_core.messages import HumanMessage

from rlm_graph.errors import ModelError
from rlm_graph.models import ask, chat_model
from rlm_graph.settings import ModelSettings

EVENTS: list[dict[str, Any]] = [
    {"choices": [{"index": 0, "delta": {"role": "assistant", "content": "two "}}]},
    {"choices": [{"index": 0, "delta": {"content": "words"}, "finish_reason": None}]},
    {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
    {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}},
]
LINES = [json.dumps(event).encode() for event in EVENTS]
SSE, JSON = "text/event-stream", "application/json"


def whole(content: Any = "two words", **more: Any) -> bytes:
    message = {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": "stop"}
    reply = {"choices": [message], "usage": {"prompt_tokens": 9, "completion_tokens": 3}}
    return json.dumps({**reply, **more}).encode()


def stream(between: bytes = b"\n\n", before: bytes = b"data: ", end: bytes = b"data: [DONE]\n\n") -> bytes:
    return b"".join(before + line + between for line in LINES) + end


@contextmanager
def server(body: bytes, kind: str, encoding: str = "") -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: Any) -> None: ...

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            for name, value in (("content-type", kind), ("content-encoding", encoding)):
                if value:
                    self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    thread = threading.Thread(target=http.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{http.server_address[1]}/v1"
    finally:
        http.shutdown()
        thread.join()
        http.server_close()


READ: dict[str, tuple[bytes, str, str]] = {
    "events": (stream(), SSE, ""),
    "without an end": (stream(end=b""), SSE, ""),
    "without a space": (stream(before=b"data:"), SSE, ""),
    "with comments": (b": OPENROUTER PROCESSING\n\n" + stream(), SSE, ""),
    "CR LF": (stream(b"\r\n\r\n"), SSE, ""),
    "CR": (stream(b"\r\r"), SSE, ""),
    "with a mark of its encoding": (b"\xef\xbb\xbf" + stream(), SSE, ""),
    "without empty lines": (stream(b"\n"), SSE, ""),
    "of another type": (stream(), JSON, ""),
    "of no type": (stream(), "", ""),
    "lines of JSON": (b"\n".join(LINES), "application/x-ndjson", ""),
    "whole": (whole(), JSON, ""),
    "whole, as a stream": (whole(), SSE, ""),
    "in parts": (whole([{"type": "text", "text": "two "}, {"type": "text", "text": "words"}]), JSON, ""),
    "compressed": (gzip.compress(whole()), JSON, "gzip"),
    "a compressed stream": (gzip.compress(stream()), SSE, "gzip"),
    "counts as texts": (whole(usage={"prompt_tokens": "9", "completion_tokens": "3"}), JSON, ""),
}


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("way", READ)
async def test_a_reply_is_read_however_it_is_written(way: str, streamed: bool) -> None:
    with server(*READ[way]) as url:
        reply = await ask(chat_model("openai/m", ModelSettings(base_url=url, stream=streamed)), [HumanMessage("?")])

    assert reply.message.text == "two words"
    assert (reply.usage.input_tokens, reply.usage.output_tokens, reply.usage.estimated_calls) == (9, 3, 0)


@pytest.mark.parametrize(
    "usage",
    [None, {"prompt_tokens": -9, "completion_tokens": -3}, {"prompt_tokens": None}, [1], {"prompt_tokens": 10**30},
     {"prompt_tokens": float("nan"), "completion_tokens": float("inf")}],
)  # fmt: skip
async def test_counts_that_cannot_be_are_estimated_instead(usage: Any) -> None:
    with server(whole(usage=usage), JSON) as url:
        reply = await ask(chat_model("openai/m", ModelSettings(base_url=url)), [HumanMessage("?")])

    assert reply.usage.estimated_calls == 1
    assert 0 < reply.usage.tokens < 100


PAGE = b"<!DOCTYPE html><html><title>Sign in</title></html>"
NAMED: dict[str, tuple[bytes, str, str]] = {
    "a page": (PAGE, "text/html", "a web page .'Sign in'."),
    "a page called JSON": (PAGE, JSON, "a web page .'Sign in'."),
    "a page called a stream": (PAGE, SSE, "a web page .'Sign in'."),
    "an error": (b'{"error": {"message": "no quota"}}', JSON, "no quota"),
    "an error in a stream": (
        b"data: " + LINES[0] + b'\n\ndata: {"error": {"message": "no quota"}}\n\n',
        SSE,
        "no quota",
    ),
    "no choice": (whole(choices=[]), JSON, "the reply held no message"),
    "nothing": (b"", JSON, "it sent: nothing"),
    "nested without an end": (b'{"choices":' + b"[" * 100_000, JSON, "not one of OpenAI's protocol"),
    "nested without an end, in a stream": (b"data: " + b"[" * 100_000 + b"\n\n", SSE, "not one of OpenAI's protocol"),
    "half a stream": (b"data: " + LINES[0] + b"\n\n", SSE, "the stream ended before the reply did"),
}


@pytest.mark.parametrize("way", NAMED)
async def test_what_is_no_reply_is_named(way: str) -> None:
    body, kind, words = NAMED[way]
    with server(body, kind) as url, pytest.raises(ModelError, match=words):
        await ask(chat_model("openai/m", ModelSettings(base_url=url)), [HumanMessage("?")])


ODD: list[Any] = [None, 5, True, "x", [], {}, [None], [5, "x", []], {"text": [5]}, {"a": 1}]
"""What stands in the place of something else."""
PLACES: list[tuple[str | int, ...]] = [
    ("content",), ("content", 0, "text"), ("content", 1, "thinking"), ("reasoning_content",), ("refusal",),
    ("annotations",), ("tool_calls",), ("tool_calls", 0), ("tool_calls", 0, "function"), ("tool_calls", 0, "id"),
    ("tool_calls", 0, "index"), ("tool_calls", 0, "function", "name"), ("tool_calls", 0, "function", "arguments"), (),
]  # fmt: skip


def odd(place: tuple[str | int, ...], value: Any) -> Any:
    call = {"id": "1", "index": 0, "type": "function", "function": {"name": "python", "arguments": "{}"}}
    said = {"content": [{"type": "text", "text": "yes"}, {"thinking": []}], "tool_calls": [call]}
    within: Any = {"said": said}
    *way, last = ("said", *place)
    for step in way:
        within = within[step]
    within[last] = value
    return said if place else value


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("place", PLACES, ids=str)
async def test_a_part_of_a_reply_may_be_anything(place: tuple[str | int, ...], streamed: bool) -> None:
    for value in ODD:
        choice = {"index": 0, ("delta" if streamed else "message"): odd(place, value), "finish_reason": "stop"}
        body = json.dumps({"choices": [choice]}).encode()
        with server(b"data: %b\n\n" % body if streamed else body, SSE if streamed else JSON) as url:
            reply = await ask(chat_model("openai/m", ModelSettings(base_url=url)), [HumanMessage("?")])

        if "content" not in place and place:
            assert reply.message.text == "yes"
        if "tool_calls" not in place and place:
            assert [call["name"] for call in reply.message.tool_calls] == ["python"]


@pytest.mark.parametrize("body", [PAGE, b"", whole(choices=[])])
async def test_what_litellm_cannot_read_is_named_too(body: bytes) -> None:
    with server(body, JSON) as url, pytest.raises(ModelError, match=r"not one that litellm can read|held no message"):
        await ask(chat_model("openai/m", ModelSettings(base_url=url, client="litellm")), [HumanMessage("?")])
