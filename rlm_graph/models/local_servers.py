"""Model servers that run on this machine: where programs that serve models listen unless told otherwise."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

DEADLINE_S = 1.0
"""For one server, from the connection to the last byte: one that is up answers in milliseconds."""
MAX_BYTES = 1 << 20
"""Of an answer; what is longer is no list of models."""
MAX_NAMES = 200


@dataclass(frozen=True)
class Program:
    """A program that serves models by OpenAI's protocol, and where it does unless told otherwise."""

    name: str
    port: int
    provider: str | None = None
    """The provider whose names lead to that port, such as `ollama`; None where a base URL has to be given."""
    host: str = "127.0.0.1"
    """Only this machine itself is ever asked."""

    @property
    def url(self) -> str:
        """The base URL."""
        return f"http://{self.host}:{self.port}/v1"


PROGRAMS = (
    Program("Ollama", 11434, "ollama"),
    Program("LM Studio", 1234, "lm_studio"),
    Program("llama.cpp", 8080),
    Program("vLLM", 8000),
)
"""Source: the documentation of each, for the port that it takes by default."""


@dataclass(frozen=True)
class LocalServer:
    """A server that has answered, with the names of its models."""

    program: Program
    models: tuple[str, ...]

    def model(self, name: str) -> tuple[str, str | None]:
        """Return what to call the model here, and the base URL to give with it; None where the name says it."""
        if self.program.provider is None:
            return name, self.program.url
        return f"{self.program.provider}/{name}", None


async def find_servers(
    programs: Sequence[Program] = PROGRAMS, *, deadline_s: float = DEADLINE_S
) -> tuple[LocalServer, ...]:
    """Ask each for its models, all at once; return those that have answered with a list of them."""
    found = await asyncio.gather(*(_asked(program, deadline_s) for program in programs))
    return tuple(server for server in found if server is not None)


async def _asked(program: Program, deadline_s: float) -> LocalServer | None:
    try:
        async with asyncio.timeout(deadline_s):
            answer = await _fetched(program)
        listed: Any = json.loads(answer)
        names = [each["id"] for each in listed["data"] if isinstance(each["id"], str) and each["id"].isprintable()]
    except (OSError, TimeoutError, ValueError, LookupError, TypeError, RecursionError):
        return None  # nothing listens there, or it is something else
    return LocalServer(program, tuple(names[:MAX_NAMES]))


async def _fetched(program: Program) -> bytes:
    """Return the body of the answer. HTTP/1.0 has it end with the connection, and knows no chunks."""
    reader, writer = await asyncio.open_connection(program.host, program.port)
    try:
        writer.write(b"GET /v1/models HTTP/1.0\r\nHost: localhost\r\nAccept: application/json\r\n\r\n")
        await writer.drain()
        answer = b""
        while len(answer) <= MAX_BYTES and (piece := await reader.read(65536)):
            answer += piece
    finally:
        writer.transport.abort()
    head, _, body = answer.partition(b"\r\n\r\n")
    if head.split(None, 2)[1:2] != [b"200"]:
        raise ValueError("no list of models")
    return body
