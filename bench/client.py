"""What a request to a model costs besides the model: our own client beside litellm's, and bare HTTP clients below both.

    python bench/client.py [--requests 200] [--rounds 3]

The server answers at once, or after 50 ms where many requests are under way, in a process of its own that does nothing
but send bytes. Times are medians; ratios are to bare aiohttp in the same round.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import time
from collections.abc import Awaitable, Callable
from multiprocessing.connection import Connection
from statistics import median
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from parts.wire import Answering

from rlm_graph.models import ask, chat_model
from rlm_graph.settings import ModelSettings

REPLY = json.dumps(
    {
        "id": "x",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "yes"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10},
    }
).encode()

Request = Callable[[list[BaseMessage]], Awaitable[Any]]


class Replying(Answering):
    """Sends the same reply to whatever comes."""

    opened = 0

    def connection_made(self, transport: Any) -> None:
        Replying.opened += 1
        super().connection_made(transport)

    def asked(self, head: bytes, body: bytes) -> None:
        if b"/slow" in head.partition(b"\r\n")[0]:
            asyncio.get_running_loop().call_later(0.05, self.send, REPLY)
        else:
            self.send(REPLY)


def serve(told: Connection) -> None:
    """Serve until the parent is gone; answer each message of it with the number of connections by now."""

    async def run() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Replying, "127.0.0.1", 0, backlog=4096)
        told.send(server.sockets[0].getsockname()[1])
        while await asyncio.to_thread(told.recv):
            told.send(Replying.opened)

    asyncio.run(run())


def plain(messages: list[BaseMessage]) -> dict[str, Any]:
    roles = {"human": "user", "ai": "assistant"}
    return {"model": "m", "messages": [{"role": roles[each.type], "content": each.content} for each in messages]}


async def timed(request: Request, messages: list[BaseMessage], requests: int) -> float:
    """Return the seconds of one request, when they are made one after another."""
    for _ in range(3):
        await request(messages)
    started = time.perf_counter()
    for _ in range(requests):
        await request(messages)
    return (time.perf_counter() - started) / requests


async def crowd(request: Request, width: int) -> float:
    """Return the seconds in which that many requests, all at once, were answered."""
    prompts = [[HumanMessage(f"Is {number} a number?")] for number in range(width)]
    await request(prompts[0])
    started = time.perf_counter()
    await asyncio.gather(*map(request, prompts))
    return time.perf_counter() - started


async def round_of(port: int, told: Connection, requests: int, width: int) -> dict[str, list[float]]:
    """Measure every client once, one after another."""
    import aiohttp
    import httpx

    fast, slow = f"http://127.0.0.1:{port}/v1", f"http://127.0.0.1:{port}/slow/v1"
    url = {"fast": f"{fast}/chat/completions", "slow": f"{slow}/chat/completions"}
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    figures: dict[str, list[float]] = {}
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as bare,
        httpx.AsyncClient(limits=limits, timeout=60) as other,
    ):

        def by_aiohttp(speed: str) -> Request:
            async def request(messages: list[BaseMessage]) -> Any:
                async with bare.post(url[speed], json=plain(messages)) as response:
                    return await response.json()

            return request

        def by_httpx(speed: str) -> Request:
            async def request(messages: list[BaseMessage]) -> Any:
                return (await other.post(url[speed], json=plain(messages))).json()

            return request

        def by_model(speed: str, client: str | None) -> Request:
            address = fast if speed == "fast" else slow
            settings = ModelSettings(base_url=address, **({"client": client} if client else {}))
            model = chat_model("openai/m", settings)

            async def request(messages: list[BaseMessage]) -> Any:
                return await ask(model, messages, config={})

            return request

        ways: dict[str, Callable[[str], Request]] = {
            "aiohttp": by_aiohttp,
            "httpx": by_httpx,
            "own client": lambda speed: by_model(speed, None),
            "litellm": lambda speed: by_model(speed, "litellm"),
        }
        for name, way in ways.items():
            told.send(True)
            before = told.recv()
            row = []
            for length in (1, 100, 600):
                said: list[BaseMessage] = [
                    HumanMessage("word " * 100) if index % 2 == 0 else AIMessage("word " * 100)
                    for index in range(length)
                ]
                row.append(await timed(way("fast"), said, requests if name != "litellm" else max(10, requests // 10)))
            told.send(True)
            opened = told.recv() - before
            row.append(await crowd(way("slow"), width))
            figures[name] = [*row, opened]
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--requests", type=int, default=200, help="requests one after another, of each length")
    parser.add_argument("--width", type=int, default=1000, help="requests at once, each of 50 ms")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1"
    mine, theirs = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs,), daemon=True)
    server.start()
    port = mine.recv()
    rounds = [asyncio.run(round_of(port, mine, options.requests, options.width)) for _ in range(options.rounds)]
    mine.send(False)
    server.join(5)

    columns = ("1 message", "100", "600", f"{options.width} at once")
    print(f"{'ms a request':12}", *(f"{column:>20}" for column in columns), f"{'connections':>12}")
    for name in rounds[0]:
        cells = []
        for place in range(len(columns)):
            time_ms = 1000 * median(figures[name][place] for figures in rounds)
            ratio = median(figures[name][place] / figures["aiohttp"][place] for figures in rounds)
            cells.append(f"{time_ms:10.2f}  (x {ratio:5.2f})".rjust(20))
        print(f"{name:12}", *cells, f"{max(figures[name][-1] for figures in rounds):12.0f}")


if __name__ == "__main__":
    main()
