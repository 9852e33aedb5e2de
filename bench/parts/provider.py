"""A provider for measurements: it answers from a list, in a process of its own, and notes when each request came."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import NamedTuple

from parts.wire import Answering

MODEL = re.compile(rb'"model":\s*"(\w+)"')
REPLY = re.compile(rb'"role":\s*"assistant"')


class Exchange(NamedTuple):
    """One request: when it had come, when its reply had left, in seconds of one clock, and how long it was."""

    came: float
    left: float
    bytes: int


@dataclass(frozen=True)
class Script:
    """What the models say: `root` one reply after another, for ever the last; `sub` the same each time."""

    root: Sequence[str]
    sub: str = "yes"
    delay_s: float = 0.0
    many_runs: bool = False
    """Whether each conversation is at the reply that follows those it holds, and not at that of the last request."""


class Provider:
    """The process, seen from the one that measures."""

    def __init__(self, told: Connection, port: int) -> None:
        self._told = told
        self.url = f"http://127.0.0.1:{port}/v1"

    def follow(self, script: Script) -> None:
        """Begin a script; what was noted before is forgotten."""
        self._told.send(script)
        self._told.recv()

    def exchanges(self) -> dict[str, list[Exchange]]:
        """Return what was asked of each model since the script began."""
        self._told.send("exchanges")
        noted: dict[str, list[Exchange]] = self._told.recv()
        return noted


@contextmanager
def provider() -> Iterator[Provider]:
    """Serve on loopback for as long as the block lasts."""
    mine, theirs = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=_serve, args=(theirs,), daemon=True)
    server.start()
    try:
        yield Provider(mine, mine.recv())
    finally:
        mine.send(None)
        server.join(5)


class _Answering(Answering):
    """Answers by the script."""

    script = Script(root=[""])
    noted: dict[str, list[Exchange]] = {}  # noqa: RUF012 - of the process

    def asked(self, head: bytes, body: bytes) -> None:
        came = time.perf_counter()
        found = MODEL.search(body)
        name = found[1].decode() if found else ""
        noted = self.noted.setdefault(name, [])
        noted.append(Exchange(came, came, len(body)))
        root = self.script.root
        turn = len(REPLY.findall(body)) if self.script.many_runs else len(noted) - 1
        said = root[min(turn, len(root) - 1)] if name == "root" else self.script.sub
        if self.script.delay_s:
            asyncio.get_running_loop().call_later(self.script.delay_s, self._answer, name, len(noted) - 1, said)
        else:
            self._answer(name, len(noted) - 1, said)

    def _answer(self, name: str, number: int, said: str) -> None:
        reply = json.dumps(
            {
                "id": "x",
                "object": "chat.completion",
                "created": 1,
                "model": name,
                "choices": [
                    {"index": 0, "message": {"role": "assistant", "content": said}, "finish_reason": "stop"},
                ],
                "usage": {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10},
            }
        ).encode()
        noted = self.noted[name]
        noted[number] = noted[number]._replace(left=time.perf_counter())
        self.send(reply)


def _serve(told: Connection) -> None:
    async def run() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(_Answering, "127.0.0.1", 0, backlog=4096)
        told.send(server.sockets[0].getsockname()[1])
        while (message := await asyncio.to_thread(told.recv)) is not None:
            if isinstance(message, Script):
                _Answering.script, _Answering.noted = message, {}
                told.send(True)
            else:
                told.send(_Answering.noted)
        server.close()

    asyncio.run(run())
