"""Listings of MCP servers, mended before the SDK reads them: it refuses all tools of a server for the form of one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Self

from rlm_graph.tools.schemas import mended


@asynccontextmanager
async def mending(transport: AbstractAsyncContextManager[Any]) -> AsyncIterator[Any]:
    """Give the streams of a transport of the SDK's, with tools as the protocol wants them in what is read."""
    async with transport as (read, write):
        yield _Mended(read), write


class _Mended:
    """A stream of messages from a server."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    async def receive(self) -> Any:
        """Return the next message."""
        return _mended(await self._stream.receive())

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        return _mended(await self._stream.__anext__())

    async def __aenter__(self) -> Self:
        await self._stream.__aenter__()
        return self

    async def __aexit__(self, *failure: Any) -> Any:
        return await self._stream.__aexit__(*failure)


def _mended(received: Any) -> Any:
    result = getattr(getattr(received, "message", None), "result", None)
    if isinstance(result, dict) and isinstance(result.get("tools"), list):
        # Without a name no tool can be called, and none can be named.
        named = [each for each in result["tools"] if isinstance(each, dict) and isinstance(each.get("name"), str)]
        result["tools"] = [_tool(each) for each in named]
    return received


def _tool(listed: dict[str, Any]) -> dict[str, Any]:
    given = listed.get("inputSchema")
    schema = mended(given) if isinstance(given, dict) else {}
    tool = {**listed, "inputSchema": {"type": "object", **schema}}
    output = tool.get("outputSchema")
    if not (isinstance(output, dict) and isinstance(mended(output).get("properties", {}), dict)):
        tool.pop("outputSchema", None)
    for text in ("title", "description"):
        if not isinstance(tool.get(text), str):
            tool.pop(text, None)
    return tool
