"""How messages of MCP servers come in: each is measured and counted before it is read.

The SDK's own transport over pipes reads a line however long it is, and its transport over HTTP a whole reply.
"""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, TextIO

from rlm_graph.executors.sandbox.frames import MAX_ITEMS, count_items

if TYPE_CHECKING:
    import anyio
    import httpx2
    from anyio.abc import Process

MAX_MESSAGE_BYTES = 32 << 20
"""Of one message. The results that a run takes are smaller, but may come in it twice: as text and as a value."""
ENDING_S = 2.0
"""Seconds that a server has to end by itself, after its input was closed and after it was told to."""


class MessageTooLarge(ConnectionError):
    """A server sent a message that is longer, or holds more values, than any may."""


@asynccontextmanager
async def over_pipes(
    command: str, args: Sequence[str], *, environment: Mapping[str, str], cwd: Any, errlog: TextIO
) -> AsyncIterator[tuple[Any, Any]]:
    """Start a server and carry its messages, as the SDK's `stdio_client` does.

    A message that is too large ends the server, whose last words then say so. Raises `OSError` if it cannot be started.
    """
    import anyio
    from mcp.client.stdio import get_default_environment

    process = await anyio.open_process(
        [command, *args],
        env={**get_default_environment(), **environment},
        cwd=cwd,
        stderr=errlog,
        start_new_session=True,
    )
    heard_in, heard_out = anyio.create_memory_object_stream[Any](0)
    said_in, said_out = anyio.create_memory_object_stream[Any](0)
    written = anyio.Event()
    try:
        async with anyio.create_task_group() as group:
            group.start_soon(_hear, process, heard_in, errlog)
            group.start_soon(_say, process, said_out, heard_in, written)
            try:
                yield heard_out, said_in
            finally:
                with anyio.CancelScope(shield=True):
                    heard_out.close()
                    said_in.close()
                    with anyio.move_on_after(ENDING_S / 4):
                        await written.wait()
                    await _end(process)
                group.cancel_scope.cancel()
    finally:
        for stream in (heard_in, heard_out, said_in, said_out):
            stream.close()
        with anyio.CancelScope(shield=True):
            await process.aclose()


async def check_reply(response: httpx2.Response) -> None:
    """Read a reply within bounds, as a hook of the client; what comes as events is bounded by the SDK.

    Raises `MessageTooLarge`, also for what comes compressed, which nobody asked for: it may be any size unpacked.
    """
    import httpx2

    if response.headers.get("content-type", "").partition(";")[0].strip() == "text/event-stream":
        return
    if response.headers.get("content-encoding", "identity") != "identity":
        raise MessageTooLarge("its reply is compressed")
    content = bytearray()
    async for chunk in response.stream:  # type: ignore[union-attr]  # of an asynchronous client
        content += chunk
        _check_length(len(content))
    _check_items(bytes(content))
    response.stream = httpx2.ByteStream(bytes(content))


async def _hear(process: Process, heard: Any, errlog: TextIO) -> None:
    """Pass the server's messages on, a line each, until it ends; then close the stream, by which the session knows."""
    import anyio

    assert process.stdout is not None
    gone = (anyio.ClosedResourceError, anyio.BrokenResourceError, anyio.EndOfStream)
    buffer = bytearray()
    async with heard:
        with suppress(*gone, ConnectionError):
            try:
                async for chunk in process.stdout:
                    for line in _lines(buffer, chunk):
                        await heard.send(_message(line))
            except MessageTooLarge as error:
                errlog.write(f"{error}\n")
                errlog.flush()
                _signal(process, signal.SIGKILL)
    with suppress(*gone, ConnectionError, OSError):
        while True:  # a server that waits until somebody reads could not end
            await process.stdout.receive()


def _lines(buffer: bytearray, chunk: bytes) -> Iterator[bytes]:
    """Yield the lines that the chunk completes; keep the rest in `buffer`. Raises `MessageTooLarge`."""
    start = 0
    while (end := chunk.find(b"\n", start)) >= 0:
        _check_length(len(buffer) + end - start)
        line = bytes(buffer) + chunk[start:end]
        buffer.clear()
        start = end + 1
        _check_items(line)
        yield line
    buffer += chunk[start:]
    _check_length(len(buffer))


def _message(line: bytes) -> Any:
    """Return the message, or the error for the session to tell of."""
    from mcp.shared.message import SessionMessage
    from mcp.types import jsonrpc_message_adapter

    try:
        return SessionMessage(jsonrpc_message_adapter.validate_json(line, by_name=False))
    except ValueError as error:
        return error


async def _say(process: Process, messages: Any, heard: Any, written: anyio.Event) -> None:
    import anyio

    assert process.stdin is not None
    try:
        async with messages:
            async for each in messages:
                text = each.message.model_dump_json(by_alias=True, exclude_unset=True)
                await process.stdin.send(f"{text}\n".encode())
    except (anyio.ClosedResourceError, anyio.BrokenResourceError, OSError):
        await heard.aclose()  # the server may live: else the session would wait for an answer that cannot come
    finally:
        written.set()


async def _end(process: Process) -> None:
    """Close the server's input; if it does not end by itself, end it with all that it has started."""
    import anyio

    assert process.stdin is not None
    with suppress(OSError, anyio.BrokenResourceError, anyio.ClosedResourceError):
        await process.stdin.aclose()
    for number in (signal.SIGTERM, signal.SIGKILL):
        with anyio.move_on_after(ENDING_S):
            await process.wait()
        if process.returncode is not None:
            return
        _signal(process, number)


def _signal(process: Process, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def _check_length(length: int) -> None:
    if length > MAX_MESSAGE_BYTES:
        raise MessageTooLarge(f"it sent a message of more than {MAX_MESSAGE_BYTES >> 20} MB")


def _check_items(message: bytes) -> None:
    if count_items(message, MAX_ITEMS) > MAX_ITEMS:
        raise MessageTooLarge(f"it sent a message of more than {MAX_ITEMS:,} values")
