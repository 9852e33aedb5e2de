"""What tools of MCP servers promise, shown with real servers: over standard input and output, and over HTTP."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from rlm_graph.errors import SetupError
from rlm_graph.settings import MCPSettings
from rlm_graph.tools import host_functions, use
from rlm_graph.tools.mcp import MCPServers
from rlm_graph.tools.mcp_transport import MessageTooLarge, _lines

PROGRAM = Path(__file__).with_name("mcp_server.py")
FLOODING = Path(__file__).with_name("mcp_flooding.py")


def over_pipes(**options: Any) -> MCPSettings:
    return MCPSettings(command=sys.executable, args=(str(PROGRAM),), **options)


@contextlib.contextmanager
def listening() -> Iterator[tuple[str, subprocess.Popen[str]]]:
    with subprocess.Popen([sys.executable, PROGRAM, "http"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}/mcp", process
        finally:
            process.kill()


@pytest.fixture(scope="module", params=["stdio", "http"])
def functions(request: pytest.FixtureRequest) -> Iterator[Any]:
    with contextlib.ExitStack() as stack:
        settings = over_pipes() if request.param == "stdio" else MCPSettings(url=stack.enter_context(listening())[0])
        servers = stack.enter_context(MCPServers({"n": settings}))
        yield host_functions(servers.tools())


def test_each_tool_is_a_function_with_types_and_a_version(functions: Any) -> None:
    assert functions["n_add"].signature == "n_add(a: int, b: int = 1)"
    assert functions["n_get_page"].signature == "n_get_page(path: str)"
    assert functions["n_add"].description == "Add two numbers."
    assert functions["n_add"].version == "1.2.3"


@pytest.mark.parametrize(
    ("name", "arguments", "value"),
    [
        ("n_add", {"a": 2}, 3),
        ("n_get_page", {"path": "/x"}, {"path": "/x"}),
        ("n_picture", {}, ["a dot", {"type": "image", "data": "aGk=", "mimeType": "image/png"}]),
    ],
)
async def test_results_are_values_of_their_own_kind(functions: Any, name: str, arguments: Any, value: Any) -> None:
    reply = await use(functions[name], arguments)

    assert reply.error is None
    assert reply.value == value


async def test_a_failure_of_the_tool_is_an_exception_with_its_words(functions: Any) -> None:
    reply = await use(functions["n_fail"], {"words": "no such number"})

    assert reply.error_type == "RuntimeError"
    assert "no such number" in str(reply.error)


async def test_arguments_are_checked_before_the_server_is_asked(functions: Any) -> None:
    reply = await use(functions["n_add"], {"a": "two"})

    assert reply.error == "n_add: a: 'two' is not of type 'integer'"


def test_a_server_can_be_called_without_an_event_loop(functions: Any) -> None:
    assert functions["n_add"].tool.invoke({"a": 40, "b": 2}) == 42


async def test_a_server_that_is_slow_is_an_exception_and_answers_the_next_call() -> None:
    with MCPServers({"n": over_pipes(timeout_s=0.5)}) as servers:
        functions = host_functions(servers.tools())

        slow = await use(functions["n_wait"], {})
        after = await use(functions["n_add"], {"a": 1})

    assert slow.error == "n_wait: MCP server n did not answer within 0.5 s"
    assert slow.error_type == "TimeoutError"
    assert after.value == 2


async def test_a_server_that_dies_is_an_exception_with_its_last_words_and_the_next_call_starts_it_again() -> None:
    with MCPServers({"n": over_pipes()}) as servers:
        functions = host_functions(servers.tools())
        first = (await use(functions["n_pid"], {})).value

        dead = await use(functions["n_die"], {})
        second = await use(functions["n_pid"], {})

    assert dead.error_type == "ConnectionError"
    assert "MCP server n ended" in str(dead.error)
    assert "out of luck" in str(dead.error)
    assert isinstance(second.value, int)
    assert second.value != first


async def test_a_server_over_http_that_is_gone_is_an_exception() -> None:
    with listening() as (url, process), MCPServers({"n": MCPSettings(url=url)}) as servers:
        functions = host_functions(servers.tools())
        process.kill()
        process.wait()

        reply = await use(functions["n_add"], {"a": 1})

    assert reply.error_type == "ConnectionError"


async def test_a_server_ends_with_its_connection() -> None:
    with MCPServers({"n": over_pipes()}) as servers:
        pid = (await use(host_functions(servers.tools())["n_pid"], {})).value

    with pytest.raises(ProcessLookupError):
        os.kill(int(str(pid)), 0)


async def test_a_server_sees_only_the_variables_that_it_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBERS_TOKEN", "for the server")
    monkeypatch.setenv("OPENAI_API_KEY", "not for the server")
    with MCPServers({"n": over_pipes(env=("NUMBERS_TOKEN",))}) as servers:
        variable = host_functions(servers.tools())["n_variable"]

        assert (await use(variable, {"name": "NUMBERS_TOKEN"})).value == "for the server"
        assert (await use(variable, {"name": "OPENAI_API_KEY"})).value is None


async def test_credentials_for_http_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBERS_TOKEN", "secret")
    monkeypatch.setenv("NUMBERS_TEAM", "blue")
    with listening() as (url, _):
        settings = MCPSettings(url=url, token="NUMBERS_TOKEN", headers={"X-Team": "NUMBERS_TEAM"})
        with MCPServers({"n": settings}) as servers:
            header = host_functions(servers.tools())["n_header"]

            assert (await use(header, {"name": "authorization"})).value == "Bearer secret"
            assert (await use(header, {"name": "x-team"})).value == "blue"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (MCPSettings(command="no-such-program-here"), "No such file"),
        (MCPSettings(command=sys.executable, args=("-c", "raise SystemExit('no licence')")), "no licence"),
        (
            MCPSettings(command=sys.executable, args=("-c", "import time; time.sleep(600)"), connect_timeout_s=0.5),
            "no answer within 0.5 s",
        ),
        (MCPSettings(url="http://127.0.0.1:9/mcp"), "MCP server n: "),
        (
            MCPSettings(url="http://127.0.0.1:9/mcp", token="NO_SUCH_VARIABLE"),
            "the environment has no NO_SUCH_VARIABLE",
        ),
    ],
    ids=["no program", "ends at once", "says nothing", "nobody listens", "no token"],
)
def test_a_server_that_cannot_be_reached_is_told_in_one_line(settings: MCPSettings, words: str) -> None:
    with MCPServers({"n": settings}) as servers, pytest.raises(SetupError, match=words):
        servers.tools()


@pytest.mark.parametrize(
    "given",
    [{}, {"command": "a", "url": "http://b"}, {"url": "ftp://b"}, {"url": "http://user:secret@b/mcp"}],
)
def test_a_server_is_either_a_command_or_an_address_without_a_secret(given: Any) -> None:
    with pytest.raises(ValidationError):
        MCPSettings(**given)


@pytest.mark.parametrize("over", ["stdio", "http"])
async def test_a_message_that_is_too_long_is_an_exception_and_the_next_call_starts_anew(over: str) -> None:
    with contextlib.ExitStack() as stack:
        settings = over_pipes() if over == "stdio" else MCPSettings(url=stack.enter_context(listening())[0])
        servers = stack.enter_context(MCPServers({"n": settings}))
        functions = host_functions(servers.tools())

        reply = await use(functions["n_much"], {"megabytes": 40})
        after = await use(functions["n_add"], {"a": 1})

    assert reply.error is not None
    assert "ConnectionError" in (reply.error_type, *reply.error.split(":"))
    assert after.value == 2


@pytest.mark.parametrize("message", ["{},", "x" * 100])
async def test_what_a_server_writes_without_an_end_is_not_kept(message: str) -> None:
    """Measured in a process of its own: what the host of such a server grows by."""
    program = f"""
import asyncio, resource, sys
from rlm_graph.settings import MCPSettings
from rlm_graph.tools import host_functions, use
from rlm_graph.tools.mcp import MCPServers

async def main():
    with MCPServers({{"n": MCPSettings(command=sys.executable, args=({str(FLOODING)!r}, {message!r}))}}) as servers:
        functions = host_functions(servers.tools())
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        reply = await use(functions["n_flood"], {{}})
        print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10)
        print(reply.error)

asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    grown, error = done.stdout.split("\n", 1)

    assert int(grown) < 150
    assert "ended" in error
    assert "32 MB" in error


def test_lines_are_cut_out_of_what_comes_and_a_bomb_is_not_read() -> None:
    buffer = bytearray()
    lines = [line for chunk in (b"a", b"b\nc\n\nd", b"\n") for line in _lines(buffer, chunk)]

    assert lines == [b"ab", b"c", b"", b"d"]
    with pytest.raises(MessageTooLarge, match="values"):
        list(_lines(buffer, b"[" + b"{}," * 2_000_000 + b"{}]\n"))
