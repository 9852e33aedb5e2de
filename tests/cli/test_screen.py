"""All that is printed goes through one place: whatever a model, a tool or a file says, a terminal shows it as text."""

from __future__ import annotations

import ast
import json
import re
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest

import rlm_graph.cli
from rlm_graph.testing import ScriptedServer
from tests.cli.conftest import Shell, code
from tests.cli.test_terminal import on_terminal

Serve = Callable[..., ScriptedServer]

PRINTING = {"printing.py", "screen.py", "standard_streams.py"}
"""The modules that write to the standard streams."""

EVIL = "E\x1b[2J\x1b[41m\x1b]0;owned\x07\x9b31m\u202e\u2066\u200b\U000e0041\rX\x08\x7fV"
"""What clears a screen, names a window, turns text, hides it and overwrites it."""
DRAWN = re.compile(r"\x1b\[(?:[0-9;]*m|\?25[lh]|2K|1A)|\r(?=\x1b\[(?:2K|1A))")
"""What rich draws with: colours, and the line of progress. No text below has such a sequence for another reason."""

PROGRAM = """
import json, sys
from rlm_graph.cli.screen import guard
from rlm_graph.langgraph_internals import read_strictly

read_strictly()
guard()
from rlm_graph.cli.app import app

for number, arguments in enumerate(json.loads(sys.argv[1])):
    sys.argv = ["rlm-graph", *arguments]
    try:
        app(prog_name="rlm-graph")
    except SystemExit as end:
        print(f"== {number} ended with {end.code}")
import logging, warnings
warnings.simplefilter("always")
warnings.warn(json.loads(sys.stdin.readline()))
logging.getLogger("tool").warning(json.loads(sys.stdin.readline()))
raise RuntimeError(json.loads(sys.stdin.readline()))
"""


def test_no_module_of_the_command_line_prints_past_the_one_place() -> None:
    found = [
        f"{path.name}:{node.lineno}"
        for path in Path(rlm_graph.cli.__file__).parent.glob("*.py")
        if path.name not in PRINTING
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if _prints(node)
    ]

    assert found == []


def _prints(node: ast.AST) -> bool:
    """Tell whether the code writes to a stream: by `print`, `input`, click, rich's consoles, or the stream itself."""
    if isinstance(node, ast.Name):
        return node.id in ("print", "input")
    if isinstance(node, ast.ImportFrom):
        names = {name.name for name in node.names}
        return (node.module == "rich.console" and "Console" in names) or node.module in ("rich", "click", "logging")
    if isinstance(node, ast.Import):
        return any(name.name in ("click", "rich", "logging") for name in node.names)
    if isinstance(node, ast.Attribute):
        owner = ast.unparse(node.value)
        drawn = owner in ("typer", "click") and node.attr in (
            "echo",
            "secho",
            "confirm",
            "prompt",
            "style",
            "echo_via_pager",
        )
        written = owner in ("sys.stdout", "sys.stderr") and node.attr in ("write", "writelines", "buffer")
        return drawn or written or (owner == "os" and node.attr == "write")
    return False


class Program(Shell):
    """A shell whose command is one process that runs all the commands it is given, one after another."""

    def command(self, *args: object) -> list[str]:
        return [sys.executable, "-c", PROGRAM, json.dumps(args)]


def quoted(text: str) -> str:
    """Return the text as TOML and Python write it alike."""
    return '"' + "".join(char if char.isalnum() and char.isascii() else f"\\U{ord(char):08x}" for char in text) + '"'


@pytest.fixture
def haunted(shell: Shell, serve: Serve) -> Shell:
    """A shell whose database, notes, settings and tools are full of what a terminal would obey."""
    schema = {"type": "object", "properties": {"a": {"type": "string", "description": EVIL}}}
    listed = json.dumps([{"name": f"x{EVIL}", "description": EVIL, "inputSchema": schema}])
    listing = Path(__file__).parent.parent / "tools" / "mcp_listing.py"
    complaint = f"import sys; sys.stderr.write({quoted(EVIL)}); sys.exit(1)"
    (shell.folder / "evil.txt").write_text(EVIL)
    (shell.folder / "user.toml").write_text(
        f"""
        [memory]
        project = {quoted(EVIL)}
        [tools.mcp.bad]
        command = {quoted(sys.executable)}
        args = [{quoted(str(listing))}, {quoted(listed)}]
        [tools.mcp.worse]
        command = {quoted(sys.executable)}
        args = ["-c", {quoted(complaint)}]
        """,
        "utf-8",
    )
    evil = quoted(EVIL)
    cell = f"memory.remember({evil})\nprint({evil})\nllm_query({evil})\nraise ValueError({evil})"
    serve(code(cell), code(f"FINAL({evil})"), subcall=EVIL)
    ran = shell.run("run", EVIL, "-c", "evil.txt", "--memory", "--config", "user.toml", "--thread", "one")
    assert ran.returncode == 0, ran.stderr
    return shell


COMMANDS = [
    ["logs"], ["logs", "one"], ["logs", "--json"], ["logs", "one", "--json"], ["logs", EVIL], ["ps"], ["ps", "--json"],
    ["ps", "--sandboxes"], ["du"], ["du", "--json"], ["resume", "one"], ["resume", "one", "--json"], ["resume", EVIL],
    ["ask", "one", EVIL], ["ask", "one", EVIL, "-v"], ["ask", "one", EVIL, "--stream"],
    ["ask", "one", EVIL, "--stream", "--json"], ["fork", "one", "--at", "1"], ["fork", "one", "--at", EVIL],
    ["run", EVIL, "-c", "evil.txt", "--approve", "code", "--thread", "two"], ["resume", "two"], ["logs", "two"],
    ["run", EVIL, "-c", EVIL], ["run", EVIL, "-m", EVIL], ["run", f"--{EVIL}"], [EVIL], ["rm", EVIL], ["sweep"],
    ["memory", "list", "--config", "user.toml"], ["memory", "list", "--all", "--config", "user.toml"],
    ["memory", "show", EVIL, "--config", "user.toml"], ["memory", "rm", EVIL, "--config", "user.toml"],
    ["tools", "--config", "user.toml"], ["tools", "--check", "--config", "user.toml"],
    ["tools", "--json", "--config", "user.toml"], ["config", "show", "--config", "user.toml"],
    ["doctor", "--config", "user.toml"], ["trust", EVIL], ["config", "show", "--config", EVIL],
    ["rm", "one"], ["rm", "-y", "two"],
]  # fmt: skip


@pytest.mark.timeout(300)
def test_whatever_is_said_reaches_a_terminal_as_text_from_every_command(haunted: Shell) -> None:
    program = Program(haunted.folder, haunted.variables)

    with on_terminal(program, *COMMANDS, RLM_MEMORY__ENABLED="1") as terminal:
        terminal.wait_for(b"Let it happen?", timeout_s=250)
        terminal.press(b"q\nq\n")  # not now: of the run, and when it is taken up
        terminal.wait_for(b"Delete 1 run for good?", timeout_s=250)
        terminal.press(b"y\n")
        for _ in range(3):
            terminal.press(json.dumps(EVIL).encode() + b"\n")
        assert terminal.end() == 1

    shown = DRAWN.sub("", terminal.text.decode()).replace("\r\n", "\n")
    assert "\x1b[41m" not in terminal.text.decode()
    assert not {char for char in shown if unicodedata.category(char) in ("Cc", "Cf") and char not in "\n\t"}
    ended = re.findall(r"== (\d+) ended with", shown)
    assert ended == [str(number) for number in range(len(COMMANDS))]
    assert shown.count("\\U000e0041") > len(COMMANDS)
    for words in ("UserWarning: E\\x1b[2J", "RuntimeError: E\\x1b[2J"):
        assert words in shown


def test_the_command_itself_prints_through_that_place(shell: Shell) -> None:
    with on_terminal(shell, f"--{EVIL}") as terminal:
        assert terminal.end() == 2

    assert b"No such option: --E\\x1b[2J" in terminal.text
    assert b"\x1b" not in terminal.text


def test_what_is_redirected_is_exact(haunted: Shell) -> None:
    resumed = haunted.run("resume", "one")
    listed = haunted.run("logs", "one", "--json")

    assert resumed.stdout.decode() == f"{EVIL}\n"
    assert json.loads(listed.stdout)["answer"]["value"] == EVIL
    assert EVIL not in resumed.stderr.decode()
