"""What can be set of tools: which a run has, what they may reach, and MCP servers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from rlm_graph.settings.marks import INSIDE, Guarded, Harmless, among, only
from rlm_graph.value import Value

EnvironmentName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
"""The name of an environment variable. What it holds is read when it is needed, and is in no setting."""


WebHost = Annotated[
    str,
    Field(pattern=r"^(\*|(\*\.)?[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*|\[[0-9a-fA-F:.]+\])(:[0-9]{1,5})?$"),
]
"""A host, all hosts below a domain, or all; with a port if it is not the scheme's own."""


BUILT_IN_TOOLS = ("file_read", "search", "web_fetch")
"""Tools that are part of rlm-graph, and reach no farther than `roots` and `web_hosts`."""


class MCPSettings(Value):
    """An MCP server: a command of this machine, or the address of one that listens."""

    command: str | None = None
    """Program that speaks MCP on its standard input and output."""
    args: tuple[str, ...] = ()
    env: tuple[EnvironmentName, ...] = ()
    """Variables that the program is given, besides `PATH`, `HOME` and their like."""
    cwd: Path | None = None
    url: str | None = Field(default=None, pattern=r"^https?://[^@\s]+$")
    """Of a server that speaks MCP over HTTP (streamable HTTP)."""
    token: EnvironmentName | None = None
    """Variable that holds the bearer token for `url`."""
    headers: dict[str, EnvironmentName] = Field(default_factory=dict)
    """Headers for `url`, each with the variable that holds its value."""
    connect_timeout_s: PositiveFloat = 30.0
    """Seconds in which the server must have started and listed its tools."""
    timeout_s: PositiveFloat = 60.0
    """Seconds that one call may take."""

    @model_validator(mode="after")
    def _is_one_server(self) -> Self:
        if (self.command is None) == (self.url is None):
            raise ValueError("an MCP server has either a command or a url")
        return self


Protocol = Literal["repl", "tools"]
"""How a root model works: it writes code in its replies, or it calls tools."""


class ToolSettings(Value):
    """The tools that code may call."""

    use: Annotated[tuple[str, ...], among(BUILT_IN_TOOLS)] = ()
    """Names of the tools that a run has; the name of an MCP server stands for all its tools."""
    retrieval: Harmless[str | None] = None
    """The tool that answers the `context_query` of a call to a sub-model; by default `search`, if the run has it."""
    roots: Annotated[tuple[Path, ...], INSIDE] = ()
    """Folders of this machine that the tools `file_read` and `search` may read, with all that lies beneath them."""
    max_read_bytes: Harmless[PositiveInt] = 1 << 20
    """The most that `file_read` returns at once."""
    max_search_bytes: Harmless[PositiveInt] = 64 << 20
    """The most that one `search` looks at."""
    web_hosts: Guarded[tuple[WebHost, ...]] = ()
    """Hosts that the tool `web_fetch` may ask: `example.org`, `*.example.org`, `example.org:8080`, or `*` for all."""
    web_private: Annotated[bool, only(False)] = False
    """Let `web_fetch` ask addresses of this machine and of private networks."""
    web_max_bytes: Harmless[PositiveInt] = 2 << 20
    """The largest answer that `web_fetch` takes."""
    web_timeout_s: Harmless[PositiveFloat] = 30.0
    """Seconds that one `web_fetch` may take, redirects included."""
    mcp: Guarded[dict[str, MCPSettings]] = Field(default_factory=dict)
    """MCP servers by name, such as `[tools.mcp.weather]` with `command = "weather-server"`. Their tools are named
    `<server>_<tool>`."""
