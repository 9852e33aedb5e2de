"""Memory from the command line: runs of several processes share it, and its owner can read and erase it."""

from __future__ import annotations

import json
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rlm_graph.testing import ScriptedServer
from tests.cli.conftest import Shell, code

Serve = Callable[..., ScriptedServer]

WRITES = code("FINAL(memory.remember('The pump was made in Trieste.', 'pump', by='r'))")
READS = code("FINAL([note['text'] for note in memory.recall('pump')])")

pytestmark = pytest.mark.confinement


def done(result: subprocess.CompletedProcess[bytes]) -> str:
    assert result.returncode == 0, result.stderr.decode()
    return result.stdout.decode().strip()


def test_two_runs_of_two_processes_share_it(shell: Shell, serve: Serve) -> None:
    serve(WRITES)
    assert done(shell.run("run", "Write.", "--memory", "--thread", "first")) == "pump"
    serve(READS)

    assert json.loads(done(shell.run("run", "Read.", "--memory"))) == ["The pump was made in Trieste."]
    kept = shell.folder / "data" / "memory.sqlite"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600


def test_it_is_off_by_default(shell: Shell, serve: Serve) -> None:
    server = serve(code("try:\n    memory.list()\nexcept NameError as error:\n    FINAL(str(error))"))

    result = shell.here("run", "Read.")

    assert result.stdout.startswith("memory is off in this run")
    assert "memory" not in server.requests[0].text
    assert not (shell.folder / "data" / "memory.sqlite").exists()


def test_a_run_that_is_taken_up_has_the_memory_that_it_began_with(shell: Shell, serve: Serve) -> None:
    serve(WRITES, READS)
    waiting = shell.here("run", "Write.", "--memory", "--approve", "code", "--thread", "r", RLM_MEMORY__USER="ann")

    resumed = shell.here("resume", "r", "--approve")

    assert (waiting.exit_code, resumed.exit_code) == (7, 0), resumed.stderr
    assert "pump" in shell.here("memory", "list", "--user", "ann").stdout
    assert shell.here("memory", "list").stdout == "no notes\n"


def test_its_owner_lists_shows_and_erases_it(shell: Shell, serve: Serve) -> None:
    serve(WRITES)
    shell.here("run", "Write.", "--memory", "--thread", "first")
    Path("rlm.toml").write_text('[memory]\nenabled = true\nuser = "ann@example.org"\nproject = "p.q/r"\n')
    shell.here("trust")
    shell.here("run", "Write.", "--thread", "second")

    [mine] = json.loads(shell.here("memory", "list", "--json").stdout)
    everyones = shell.here("memory", "list", "--all").stdout.splitlines()
    shown = shell.here("memory", "show", "pump")

    assert (mine["key"], mine["run"], mine["metadata"]) == ("pump", "second", {"by": "r"})
    assert [line.split()[0] for line in everyones] == ["ann@example.org/p.q/r", "default/default"]
    assert shown.stdout == "The pump was made in Trieste.\n"
    assert "run second" in shown.stderr
    assert shell.here("memory", "rm", "pump").exit_code == 0
    assert shell.here("memory", "list").stdout == "no notes\n"
    assert "erased 1 note" in shell.here("memory", "clear", "--yes", "--user", "default", "--project", "default").stderr
    assert shell.here("memory", "list", "--all").stdout == "no notes\n"


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("show", "nothing"), "no note 'nothing'; `rlm-graph memory list` lists them"),
        (("rm", "pump", "nothing"), "no note 'nothing'"),
        (("rm", ""), "a key is a printable text"),
        (("clear",), "nobody is there to be asked; --yes erases without asking"),
        (("list", "--user", ""), "memory.user: String should have at least 1 character"),
    ],
)
def test_a_mistake_is_told_in_a_line_and_erases_nothing(
    shell: Shell, serve: Serve, command: tuple[str, ...], words: str
) -> None:
    serve(WRITES)
    shell.here("run", "Write.", "--memory")

    result = shell.here("memory", *command)

    assert result.exit_code == 2
    assert words in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert "pump" in shell.here("memory", "list").stdout


def test_what_is_shown_moves_no_terminal(shell: Shell, serve: Serve) -> None:
    serve(code("FINAL(memory.remember('red \\x1b[31m text', 'k'))"))
    shell.here("run", "Write.", "--memory")

    assert "\x1b" not in shell.here("memory", "list").stdout


def test_a_damaged_file_is_told_and_left(shell: Shell) -> None:
    (shell.folder / "data").mkdir()
    kept = shell.folder / "data" / "memory.sqlite"
    kept.write_bytes(b"something else " * 100)

    result = shell.here("memory", "list")

    assert result.exit_code == 3
    assert "memory cannot be used" in result.stderr
    assert kept.read_bytes() == b"something else " * 100


def test_an_encrypted_run_keeps_its_notes_encrypted(shell: Shell, serve: Serve) -> None:
    serve(WRITES)
    shell.variables |= {"LANGGRAPH_AES_KEY": "0123456789abcdef0123456789abcdef", "RLM_ENCRYPT": "1"}
    shell.here("run", "Write.", "--memory")

    kept = b"".join(each.read_bytes() for each in (shell.folder / "data").glob("memory.sqlite*"))
    assert b"Trieste" not in kept
    assert "Trieste" in shell.here("memory", "show", "pump").stdout
    del shell.variables["RLM_ENCRYPT"]
    assert "memory is encrypted; give --encrypt" in shell.here("memory", "list").stderr


@pytest.mark.postgres
def test_it_lies_in_the_database_of_runs_where_that_is_on_a_server(shell: Shell, serve: Serve, postgres: str) -> None:
    shell.variables["RLM_DB"] = postgres
    serve(WRITES)
    assert shell.here("run", "Write.", "--memory").exit_code == 0
    serve(READS)

    result: Any = shell.here("run", "Read.", "--memory")

    assert json.loads(result.stdout) == ["The pump was made in Trieste."]
    assert shell.here("memory", "clear", "--yes").exit_code == 0
    assert shell.here("memory", "list").stdout == "no notes\n"
    assert not (shell.folder / "data" / "memory.sqlite").exists()
