"""An MCP server of the tests, made with the same package: on standard input and output, or on loopback."""

from __future__ import annotations

import asyncio
import os
import socket
import sys

from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import ImageContent, TextContent

server = MCPServer("numbers", version="1.2.3")


@server.tool()
def add(a: int, b: int = 1) -> int:
    """Add two numbers."""
    return a + b


@server.tool(name="get-page")
def get_page(path: str) -> dict[str, str]:
    """Get a page."""
    return {"path": path}


@server.tool()
def fail(words: str) -> str:
    """Fail with these words."""
    raise ToolError(words)


@server.tool()
def variable(name: str) -> str | None:
    """Return a variable of the server's environment."""
    return os.environ.get(name)


@server.tool()
def picture() -> list[TextContent | ImageContent]:
    """Return a picture with its caption."""
    return [TextContent(type="text", text="a dot"), ImageContent(type="image", data="aGk=", mime_type="image/png")]


@server.tool()
async def wait() -> None:
    """Never answer."""
    await asyncio.Event().wait()


@server.tool()
def die() -> None:
    """End the server in the middle of a call."""
    print("out of luck", file=sys.stderr, flush=True)
    os._exit(3)


@server.tool()
def much(megabytes: int) -> str:
    """Return so much text."""
    return "x" * (megabytes << 20)


@server.tool()
def pid() -> int:
    """Return the server's process."""
    return os.getpid()


@server.tool()
def header(name: str, ctx: Context) -> str | None:
    """Return a header of the request."""
    return (ctx.headers or {}).get(name)


if __name__ == "__main__":
    if sys.argv[1:] == ["http"]:
        import uvicorn

        listener = socket.create_server(("127.0.0.1", 0))
        print(listener.getsockname()[1], flush=True)
        uvicorn.Server(uvicorn.Config(server.streamable_http_app(), log_level="error")).run(sockets=[listener])
    else:
        server.run("stdio")
