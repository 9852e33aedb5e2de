"""Tools of MCP servers: each becomes a LangChain tool, and so a function of the REPL.

A server runs, and its credentials stay, on the host. One that ends or is slow is an exception in the code that called
it; the next call starts it again.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import threading
from collections import deque
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from langchain_core.tools import BaseTool
from pydantic import PrivateAttr

from rlm_graph.errors import Hint, SetupError
from rlm_graph.settings import MCPSettings
from rlm_graph.tools.functions import HostFunction, distinct, python_name, unusable
from rlm_graph.tools.mcp_mending import mending
from rlm_graph.tools.mcp_transport import check_reply, over_pipes
from rlm_graph.tools.schemas import mended

if TYPE_CHECKING:
    from mcp import Client
    from mcp.types import CallToolResult
    from mcp.types import Tool as ServerTool

T = TypeVar("T")
_log = logging.getLogger(__name__)

MAX_TOOLS = 500
"""Tools of one server that are taken."""
MAX_STDERR_LINES = 5
"""Last lines of a server's standard error that are told when it fails."""
LAST_WORDS_S = 1.0
"""How long the end of what a server has written is waited for: what it started may hold the pipe open."""
CLOSING_S = 15.0
"""Seconds that all servers have to end."""


@dataclass(frozen=True)
class LeftOut:
    """A tool of a server that cannot be called."""

    server: str
    name: str
    problem: str


class MCPServers:
    """Connections to MCP servers by their names, opened when first needed and held until `close`.

    A context manager. Its tools may be called from any thread and event loop.
    """

    def __init__(self, servers: Mapping[str, MCPSettings]) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread: threading.Thread | None = None
        self.left_out: list[LeftOut] = []
        """Tools that the servers have and that cannot be called, as `tools` found them last."""
        self._process = os.getpid()
        self._connections = {name: _Connection(name, settings) for name, settings in servers.items()}

    def tools(self) -> list[BaseTool]:
        """Ask each server for its tools; they are named `<server>_<tool>`.

        A tool that cannot be called is left out, named in the log as a warning, and kept in `left_out`. Raises
        `SetupError` for a server that cannot be reached.
        """
        listed = {name: self.start(connection.tools()) for name, connection in self._connections.items()}
        self.left_out = []
        return [made for name, tools in listed.items() for made in self._tools(name, tools.result())]

    def _tools(self, server: str, listed: Sequence[ServerTool]) -> Iterator[MCPTool]:
        first = {tool.name: tool for tool in reversed(listed)}
        for name, own in distinct(tool.name for tool in listed).items():
            tool = self._tool(server, f"{python_name(server)}_{name}", first[own])
            problem = unusable(HostFunction(tool))
            if problem is None:
                yield tool
            else:
                self.left_out.append(LeftOut(server, own, problem))
                _log.warning("MCP server %s: the tool %r is left out: %s", server, own, problem)

    def _tool(self, server: str, name: str, tool: ServerTool) -> MCPTool:
        made = MCPTool(
            name=name,
            description=tool.description or tool.title or tool.name,
            args_schema=mended(tool.input_schema),
            metadata={"version": self._connections[server].version, "source": f"mcp:{server}"},
        )
        made._servers, made._server, made._own_name = self, server, tool.name
        return made

    def call(self, server: str, tool: str, arguments: dict[str, Any]) -> Future[Any]:
        """Start a call; its result, or what the code is to see instead, comes with the future."""
        return self.start(self._connections[server].call(tool, arguments))

    def start(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Run a coroutine on the loop that all connections live on.

        Raises `SetupError` in a process that was forked from the one that opened them.
        """
        if self._process != os.getpid():
            work.close()
            raise SetupError(
                "these MCP servers were opened before the process was forked, and belong to its parent; open "
                "MCPServers(...) in the process that uses them"
            )
        if self._thread is None:
            self._thread = threading.Thread(target=self._loop.run_forever, name="rlm-graph-mcp", daemon=True)
            self._thread.start()
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def close(self) -> None:
        """End all connections, and the servers that were started for them. Idempotent. A forked process ends none."""
        if self._process != os.getpid():
            return
        if self._thread is not None:
            with contextlib.suppress(TimeoutError):
                self.start(self._close()).result(CLOSING_S)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._thread = None
        if not self._loop.is_closed():
            self._loop.close()

    async def _close(self) -> None:
        await asyncio.gather(*(connection.close() for connection in self._connections.values()))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


class MCPTool(BaseTool):
    """A tool that a server has."""

    _servers: MCPServers = PrivateAttr()
    _server: str = PrivateAttr()
    _own_name: str = PrivateAttr()

    def _run(self, **arguments: Any) -> Any:
        return self._servers.call(self._server, self._own_name, arguments).result()

    async def _arun(self, **arguments: Any) -> Any:
        return await asyncio.wrap_future(self._servers.call(self._server, self._own_name, arguments))


class _Connection:
    """One server: a client for it while it lives, and another one after it has ended."""

    def __init__(self, name: str, settings: MCPSettings) -> None:
        self._name = name
        self._settings = settings
        self._connecting = asyncio.Lock()
        self._client: Client | None = None
        self._holder: asyncio.Task[None] | None = None
        self._leave = asyncio.Event()
        self._stderr: deque[str] = deque(maxlen=MAX_STDERR_LINES)
        self.version = ""

    async def tools(self) -> list[ServerTool]:
        """List the server's tools. Raises `SetupError`."""
        found: list[ServerTool] = []
        cursor: str | None = None
        try:
            async with asyncio.timeout(self._settings.connect_timeout_s):
                client = await self._connected()
                while len(found) < MAX_TOOLS:
                    page = await client.list_tools(cursor=cursor)
                    found += page.tools
                    cursor = page.next_cursor
                    if cursor is None:
                        break
        except Exception as error:
            await self.close()
            raise SetupError(f"MCP server {self._name}: {self._words(error)}; see tools.mcp.{self._name}") from error
        return found[:MAX_TOOLS]

    async def call(self, tool: str, arguments: dict[str, Any]) -> Any:
        """Call a tool and return its result.

        Raises `RuntimeError` with the tool's own words, `TimeoutError`, or `ConnectionError` if the server ended.
        """
        from mcp import MCPError

        limit = self._settings.timeout_s
        deadline = asyncio.timeout(limit)
        try:
            async with deadline:
                client = await self._connected()
                result = await client.call_tool(tool, arguments)
        except TimeoutError:
            raise TimeoutError(f"MCP server {self._name} did not answer within {limit:g} s") from None
        except MCPError as error:
            if not self._has_ended(error):
                raise RuntimeError(f"MCP server {self._name}: {error.message}") from error
            await self.close()  # after it, all that the server said has been read
            words = self._words(error)
            raise ConnectionError(f"MCP server {self._name} ended: {words}; the next call starts anew") from error
        except Exception as error:  # what transports raise is not in any contract of theirs
            await self.close()
            words = self._words(error)
            raise ConnectionError(f"MCP server {self._name} cannot be reached: {words}") from error
        return _value(result)

    async def close(self) -> None:
        """Leave the client, in the task that has entered it."""
        holder, self._holder, self._client = self._holder, None, None
        if holder is not None:
            self._leave.set()
            await asyncio.gather(holder, return_exceptions=True)

    async def _connected(self) -> Client:
        async with self._connecting:
            if self._client is None:
                ready: asyncio.Future[Client] = asyncio.get_running_loop().create_future()
                self._leave = asyncio.Event()
                self._holder = asyncio.create_task(self._hold(ready, self._leave))
                try:
                    self._client = await ready
                except BaseException:
                    self._holder.cancel()
                    raise
                info = self._client.server_info
                self.version = info.version if info is not None else ""
            return self._client

    async def _hold(self, ready: asyncio.Future[Client], leave: asyncio.Event) -> None:
        # Entered and left in one task: the SDK's cancel scopes belong to the task that opened them.
        try:
            async with self._open() as client:
                if not ready.cancelled():
                    ready.set_result(client)
                    await leave.wait()
        except Exception as error:
            if not ready.done():
                ready.set_exception(error)

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[Client]:
        try:
            import httpx2
            from mcp import Client
            from mcp.client.streamable_http import streamable_http_client
        except ImportError as error:
            raise SetupError("MCP servers need another package", hint=Hint("install", "mcp")) from error
        settings = self._settings
        if settings.url is not None:
            headers = {name: _secret(variable) for name, variable in settings.headers.items()}
            headers["Accept-Encoding"] = "identity"  # else a small reply could be a large one
            if settings.token is not None:
                headers["Authorization"] = f"Bearer {_secret(settings.token)}"
            async with (
                httpx2.AsyncClient(
                    headers=headers, timeout=settings.timeout_s, event_hooks={"response": [check_reply]}
                ) as http,
                Client(mending(streamable_http_client(settings.url, http_client=http))) as client,
            ):
                yield client
            return
        assert settings.command is not None
        environment = {name: os.environ[name] for name in settings.env if name in os.environ}
        with _last_lines(self._stderr) as stderr:
            started = over_pipes(
                settings.command, settings.args, environment=environment, cwd=settings.cwd, errlog=stderr
            )
            async with Client(mending(started)) as client:
                yield client

    def _has_ended(self, error: Any) -> bool:
        from mcp.types import CONNECTION_CLOSED

        return bool(error.code == CONNECTION_CLOSED)

    def _words(self, error: BaseException) -> str:
        while isinstance(error, BaseExceptionGroup) and error.exceptions:
            error = error.exceptions[0]
        words = str(error) or type(error).__name__
        if isinstance(error, TimeoutError):
            words = f"no answer within {self._settings.connect_timeout_s:g} s"
        told = " | ".join(self._stderr)
        return " ".join(f"{words}{f' (it said: {told[-500:]})' if told else ''}".split())


@contextlib.contextmanager
def _last_lines(lines: deque[str]) -> Any:
    """Give a file whose last lines are kept in `lines`, however much is written to it."""
    lines.clear()
    reading, writing = os.pipe()

    def keep() -> None:
        with open(reading, encoding="utf-8", errors="replace") as text:
            while line := text.readline(10_000):
                if line.strip():
                    lines.append(line.strip())

    reader = threading.Thread(target=keep, name="rlm-graph-mcp-stderr", daemon=True)
    reader.start()
    try:
        with open(writing, "w", encoding="utf-8") as file:
            yield file
    finally:
        reader.join(LAST_WORDS_S)


def _secret(variable: str) -> str:
    value = os.environ.get(variable)
    if value is None:
        raise SetupError(f"the environment has no {variable}")
    return value


def _value(result: CallToolResult) -> Any:
    """Return what the tool gave: its structured result, else its text, else a list of its parts."""
    if result.is_error:
        raise RuntimeError("\n".join(_part(block) for block in result.content if block.type == "text") or "it failed")
    structured = result.structured_content
    if isinstance(structured, dict) and list(structured) == ["result"]:
        return structured["result"]  # a value that is no object travels in one
    if structured is not None:
        return structured
    parts = [_part(block) for block in result.content]
    if all(isinstance(part, str) for part in parts):
        return "\n".join(parts)
    return parts


def _part(block: Any) -> Any:
    if block.type == "text":
        return block.text
    return json.loads(block.model_dump_json(by_alias=True, exclude_none=True))
