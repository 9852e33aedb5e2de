"""`rlm-graph tools` and `run --tool`: what there is to choose from, and a run that has it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from rlm_graph.testing import ScriptedCall, ScriptedReply, ScriptedServer
from tests.cli.conftest import Shell, code

Serve = Callable[..., ScriptedServer]

NUMBERS = Path(__file__).parents[1] / "tools" / "mcp_server.py"
SETTINGS = f"""
[tools]
use = ["search"]
roots = ["docs"]

[tools.mcp.n]
command = {sys.executable!r}
args = [{str(NUMBERS)!r}]
"""

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def docs(shell: Shell) -> Path:
    folder = shell.folder / "docs"
    folder.mkdir()
    (folder / "a.txt").write_text("The notice period is three months.")
    (shell.folder / "rlm.toml").write_text(SETTINGS)
    shell.here("trust")
    return folder


def test_the_list_tells_what_each_tool_is_and_whether_it_can_be_used(shell: Shell, docs: Path) -> None:
    shown = shell.here("tools")
    rows = {row["name"]: row for row in json.loads(shell.here("tools", "--json").stdout)}

    assert shown.exit_code == 0
    assert "search  (built-in, 0." in shown.stdout
    assert "in use" in shown.stdout
    assert "    n_add(a: int, b: int = 1)" in shown.stdout
    assert rows["search"]["used"]
    assert rows["file_read"]["schema"]["required"] == ["path"]
    assert rows["n_add"]["source"] == "MCP server n"
    assert rows["n_add"]["version"] == "1.2.3"
    assert "no host may be asked" in rows["web_fetch"]["problems"][0]


def test_a_check_fails_if_one_of_them_cannot_be_used(shell: Shell, docs: Path) -> None:
    failing = shell.here("tools", "--check")
    passing = shell.here("tools", "--check", RLM_TOOLS__WEB_HOSTS='["example.org"]')

    assert failing.exit_code == 1
    assert "! tool web_fetch: no host may be asked" in failing.stdout
    assert passing.exit_code == 0, passing.stdout
    assert passing.stdout.count("ok)") >= 4


def test_a_run_has_the_tools_of_the_settings_and_those_of_its_flags_instead(
    shell: Shell, docs: Path, serve: Serve
) -> None:
    server = serve(code("FINAL(search('notice period')[0]['path'])"))
    by_settings = shell.here("run", "Where?")
    server.script = lambda request: code("FINAL([n_add(20, 22), 'search' in globals()])")
    by_flag = shell.here("run", "How many?", "--tool", "n")

    assert by_settings.stdout == "a.txt\n", by_settings.stderr
    assert json.loads(by_flag.stdout) == [42, False], by_flag.stderr


def test_a_resumed_run_has_the_tools_that_it_began_with(shell: Shell, docs: Path, serve: Serve) -> None:
    server = serve(code("x = n_add(1, 1)"), ScriptedReply(status=400, error="no"))
    stopped = shell.here("run", "How many?", "--tool", "n_add", "--thread", "mine")
    server.script = lambda request: code("FINAL([x, n_add(20, 22)])")

    result = shell.here("resume", "mine")

    assert stopped.exit_code == 6
    assert json.loads(result.stdout) == [2, 42], result.stderr


def test_a_tool_that_is_not_there_leaves_no_run_behind(shell: Shell, docs: Path, serve: Serve) -> None:
    server = serve("FINAL(1)")

    result = shell.here("run", "?", "--tool", "serch")

    assert result.exit_code == 2
    assert "there is no tool 'serch'" in result.stderr
    assert json.loads(shell.here("logs", "--json").stdout) == []
    assert server.count == 0


def test_a_run_of_a_model_that_calls_tools_is_resumed_as_one(shell: Shell, serve: Serve) -> None:
    begin = ScriptedReply(tool_calls=[ScriptedCall("python", {"code": "x = 40"})])
    end = ScriptedReply(tool_calls=[ScriptedCall("final_answer", {"variable": "x"})])
    server = serve(begin, ScriptedReply(status=400, error="no"))
    stopped = shell.here("run", "How many?", "--protocol", "tools", "--thread", "mine")
    server.script = lambda request: end

    result = shell.here("resume", "mine")

    assert stopped.exit_code == 6
    assert json.loads(result.stdout) == 40, result.stderr
    assert [tool["function"]["name"] for tool in server.requests[-1].tools][:2] == ["python", "final_answer"]


def test_a_protocol_that_there_is_not_is_refused(shell: Shell, serve: Serve) -> None:
    serve("FINAL(1)")

    result = shell.here("run", "?", "--protocol", "smoke")

    assert result.exit_code == 2
    assert "'repl' or 'tools'" in result.stderr
