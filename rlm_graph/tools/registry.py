"""The tools that there are to choose from: built in, offered by installed packages, and of configured MCP servers.

A package offers a tool as an entry point of the group `rlm_graph.tools`, by the name that code calls it by: a LangChain
tool, a class of one, or a function with a docstring. It is imported when it is chosen or listed, not before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import EntryPoint, version

from langchain_core.tools import BaseTool

from rlm_graph.errors import Hint, InputError, SetupError
from rlm_graph.settings import ToolSettings
from rlm_graph.settings.plugins import imported, registered
from rlm_graph.tools.files import file_read, search
from rlm_graph.tools.functions import HostFunction, as_tool, python_name
from rlm_graph.tools.mcp import MCPServers
from rlm_graph.tools.web import web_fetch

GROUP = "rlm_graph.tools"


@dataclass(frozen=True)
class ToolEntry:
    """A tool that can be chosen by its name."""

    name: str
    source: str
    """Who tool_entries it: `built-in`, or a package."""
    version: str
    """Of its package, for a tool that states none of its own."""
    load: Callable[[], BaseTool]
    """Makes the tool. Raises `SetupError` if it cannot be made."""


def tool_entries(settings: ToolSettings) -> list[ToolEntry]:
    """Return what is built in and what installed packages offer, without importing any of it."""
    return [*_built_in(settings), *map(_offered, registered(GROUP))]


@contextmanager
def open_tools(settings: ToolSettings) -> Iterator[list[BaseTool]]:
    """Give the tools of `settings.use`; their MCP servers live as long.

    Raises `InputError` for a name that is not there, `SetupError` for a tool or a server that cannot be used.
    """
    offered = tool_entries(settings)
    local = [offer for name in dict.fromkeys(settings.use) for offer in _named(name, offered, settings)]
    wanted = [name for name in settings.use if server_of(name, settings) is not None]
    used = {server: settings.mcp[server] for name in wanted if (server := server_of(name, settings)) is not None}
    tools = [offer.load() for offer in local]
    with MCPServers(used) as servers:
        remote = {tool.name: tool for tool in servers.tools()}
        for name in wanted:
            if name not in used and name not in remote:
                raise InputError(f"the MCP server has no tool {name!r}; it has: {', '.join(remote)}")
        prefixes = tuple(f"{python_name(name)}_" for name in wanted if name in used)
        yield [*tools, *(tool for name, tool in remote.items() if name in wanted or name.startswith(prefixes))]


@dataclass(frozen=True)
class ToolStatus:
    """A tool as it is shown to a user. What cannot be made has problems and no function."""

    name: str
    source: str
    version: str
    used: bool
    function: HostFunction | None
    problems: Sequence[str] = ()


def tool_statuses(settings: ToolSettings, *, check: bool = False) -> list[ToolStatus]:
    """Load every tool there is and ask every MCP server for its own. With `check`, each is tested too."""
    rows: list[ToolStatus] = []
    for offer in tool_entries(settings):
        used = offer.name in settings.use
        try:
            rows.append(_status(offer.load(), offer.source, used, check))
        except SetupError as error:
            rows.append(ToolStatus(offer.name, offer.source, offer.version, used, None, (str(error),)))
    for server, server_settings in settings.mcp.items():
        with MCPServers({server: server_settings}) as servers:
            try:
                found = servers.tools()
            except SetupError as error:
                rows.append(ToolStatus(server, "MCP server", "", server in settings.use, None, (str(error),)))
                continue
            used = server in settings.use
            rows += [
                ToolStatus(left.name, f"MCP server {server}", "", False, None, (f"left out: {left.problem}",))
                for left in servers.left_out
            ]
            rows += [_status(tool, f"MCP server {server}", used or tool.name in settings.use, check) for tool in found]
    return rows


def _status(tool: BaseTool, source: str, used: bool, check: bool) -> ToolStatus:
    from rlm_graph.tools.checking import check_tool

    function = HostFunction(tool)
    return ToolStatus(function.name, source, function.version, used, function, check_tool(tool) if check else ())


def server_of(name: str, settings: ToolSettings) -> str | None:
    """Return the MCP server that a name stands for, or whose tool it names."""
    if name in settings.mcp:
        return name
    found = [server for server in settings.mcp if name.startswith(f"{python_name(server)}_")]
    return max(found, key=len, default=None)


def _named(name: str, offered: Iterable[ToolEntry], settings: ToolSettings) -> list[ToolEntry]:
    found = [offer for offer in offered if offer.name == name]
    if len(found) > 1:
        raise SetupError(f"a tool {name!r} is offered twice, by {' and '.join(offer.source for offer in found)}")
    if not found and server_of(name, settings) is None:
        known = ", ".join([*(offer.name for offer in offered), *settings.mcp])
        raise InputError(f"there is no tool {name!r}; there are: {known}", hint=Hint("list_tools"))
    return found


def _built_in(settings: ToolSettings) -> list[ToolEntry]:
    own = version("rlm-graph")
    return [
        ToolEntry(make.__name__, "built-in", own, partial(make, settings)) for make in (file_read, search, web_fetch)
    ]


def _offered(point: EntryPoint) -> ToolEntry:
    package = point.dist
    return ToolEntry(
        point.name,
        package.name if package is not None else point.value,
        package.version if package is not None else "",
        partial(_load, point),
    )


def _load(point: EntryPoint) -> BaseTool:
    made = imported(point, lambda found: as_tool(found() if _is_tool_class(found) else found))
    stated = made.metadata or {}
    own = point.dist.version if point.dist is not None else ""
    return made.model_copy(update={"name": point.name, "metadata": {"version": own, **stated}})


def _is_tool_class(found: object) -> bool:
    return isinstance(found, type) and issubclass(found, BaseTool)
