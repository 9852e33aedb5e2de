"""`--encrypt`: whoever has the database and the data folder, but not the key, reads nothing that a run said."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rlm_graph.context.encrypted import MEMORY
from rlm_graph.testing import ScriptedRequest, ScriptedServer
from tests.cli.conftest import Shell, code

Serve = Callable[..., ScriptedServer]

pytestmark = [pytest.mark.confinement, pytest.mark.timeout(400)]

KEY = "0123456789abcdef0123456789abcdef"
MARKS = (
    "mark-question", "mark-context", "mark-file", "mark-message", "mark-printed", "mark-prompt", "mark-reply",
    "mark-error", "mark-misfit", "mark-answer", "mark-batch", "mark-child",
)  # fmt: skip
"""What each thing that a run says contains."""

LOOK = "mark-message: I look first.\n" + code(
    "found = llm_query('mark-prompt: ' + context[:4])\nprint('mark-' + 'printed', found, context)"
)
FAIL = code(
    "batch = llm_query_batched(['mark-batch 1', 'mark-batch 2'])\n"
    "child = rlm_query('mark-child: what is there?')\n"
    "raise RuntimeError('mark-error')"
)
MISFIT = code("FINAL('mark-misfit')")
END = code("FINAL('mark-answer ' + found + ' and much more')")
SCHEMA = {"type": "string", "minLength": 30}


def script(request: ScriptedRequest) -> str:
    """Answer the root, its child and their calls."""
    roles = [message["role"] for message in request.messages]
    if "system" not in roles:
        return "mark-reply"
    if "mark-child" in str(request.messages[1]["content"]):
        return code("FINAL('mark-reply of the child')")
    return [LOOK, FAIL, MISFIT, END][min(roles.count("assistant"), 3)]


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, shell: Shell) -> str:
    """The address of the database, and a shell whose commands take a snapshot after each turn."""
    address: str = str(shell.db) if request.param == "sqlite" else request.getfixturevalue("postgres")
    shell.variables |= {"RLM_DB": address, "LANGGRAPH_AES_KEY": KEY, "RLM_SNAPSHOTS__AFTER_S": "0"}
    shell.variables["TMPDIR"] = str(shell.folder)
    (shell.folder / "schema.json").write_text(json.dumps(SCHEMA))
    (shell.folder / "mark-file.txt").write_text("the mark-context of the run " * 10)
    return address


def written(shell: Shell, database: str) -> bytes:
    """Return every byte of the database, of its log, and of the data folder."""
    folder = shell.folder / "data"
    found = b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())
    return found + (dump(database) if database.startswith("postgres") else b"")


def dump(address: str) -> bytes:
    """Return all rows of all tables, as PostgreSQL's own binary format has them."""
    import psycopg

    out = io.BytesIO()
    with psycopg.connect(address) as connection:
        tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        for (table,) in tables:
            with connection.cursor().copy(f'COPY "{table}" TO STDOUT (FORMAT binary)'.encode()) as rows:
                for part in rows:
                    out.write(bytes(part))
    return out.getvalue()


def marks_in(data: bytes) -> list[str]:
    return [mark for mark in MARKS if mark.encode() in data]


RUN = ("run", "mark-question?", "-c", "mark-file.txt", "--schema", "schema.json", "--thread", "mine")


def test_without_encryption_all_of_it_stands_in_the_clear(shell: Shell, serve: Serve, database: str) -> None:
    serve(script=script)

    done = shell.here(*RUN)
    assert done.exit_code == 0, done.stderr

    assert marks_in(written(shell, database)) == list(MARKS)


def test_nothing_of_an_encrypted_run_can_be_read(shell: Shell, serve: Serve, database: str) -> None:
    serve(script=script)

    done = shell.here(*RUN, "--encrypt")

    assert done.exit_code == 0, done.stderr
    assert done.stdout.startswith("mark-answer mark-reply")
    assert marks_in(written(shell, database)) == []
    shell.variables["RLM_ENCRYPT"] = "1"
    assert "mark-question" in shell.here("logs").stdout
    shown = shell.here("logs", "mine", "--json").stdout
    assert "mark-error" in shown
    assert "mark-answer" in shown
    again = shell.here("ask", "mine", "mark-question again?", "-c", "mark-file.txt")
    assert again.exit_code == 0, again.stderr
    assert marks_in(written(shell, database)) == []
    assert shell.here("rm", "mine", "--yes").exit_code == 0
    assert list((shell.folder / "data" / "sealed" / "contexts").iterdir()) == []


def test_a_killed_run_leaves_nothing_to_read_and_goes_on(shell: Shell, serve: Serve, database: str) -> None:
    server = serve(script=script)
    shell.variables["RLM_ENCRYPT"] = "1"
    with server.holding(lambda request: "mark-batch 2" in request.prompt) as hold:
        host = subprocess.Popen(
            shell.command(*RUN), cwd=shell.folder, env=shell.environment(), start_new_session=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        hold.wait(120)
        opened = own_folders(host.pid)
        os.killpg(host.pid, signal.SIGKILL)
        host.wait()
    assert marks_in(written(shell, database)) == []
    assert len(opened) == 1

    resumed = shell.run("resume", "mine")

    assert resumed.returncode == 0, resumed.stderr.decode()
    assert resumed.stdout.startswith(b"mark-answer mark-reply")
    assert sum(request.prompt.startswith("mark-prompt") for request in server.requests) == 1
    assert marks_in(written(shell, database)) == []
    assert not opened[0].exists()  # what it had open in memory went when the next one came


def own_folders(pid: int) -> list[Path]:
    """The folders in memory that a process holds the lock of."""
    links = [os.readlink(path) for path in Path(f"/proc/{pid}/fd").iterdir() if path.exists()]
    return [Path(link).parent for link in links if link.startswith(f"{MEMORY}/rlm-graph-open-")]


def refused(shell: Shell, *args: Any, **variables: str) -> str:
    """Run a command that must end with the code of a configuration that cannot be used; return what it says."""
    result = shell.here(*args, **variables)
    assert result.exit_code == 3, result.stderr
    assert result.stdout == ""
    [line] = result.stderr.strip().splitlines()
    return str(line)


@pytest.mark.parametrize("command", [("run", "q", "-c", "mark-file.txt"), ("logs",), ("resume", "mine")])
def test_a_key_that_does_not_fit_is_said_and_nothing_is_lost(
    shell: Shell, serve: Serve, database: str, command: tuple[str, ...]
) -> None:
    serve(code("FINAL('mark-answer')"))
    assert shell.here("run", "q", "--thread", "mine", "--encrypt").exit_code == 0
    before = written(shell, database) if database.startswith("postgres") else b""

    assert "another key" in refused(shell, *command, "--encrypt", LANGGRAPH_AES_KEY="f" * 32)
    assert "set LANGGRAPH_AES_KEY" in refused(shell, *command, "--encrypt", LANGGRAPH_AES_KEY="")
    assert "has 5 bytes" in refused(shell, *command, "--encrypt", LANGGRAPH_AES_KEY="short")
    assert "is encrypted; give --encrypt" in refused(shell, *command)

    assert not (shell.folder / "data" / "contexts").exists()
    assert not before or written(shell, database) == before
    assert shell.here("resume", "mine", "--encrypt").stdout == "mark-answer\n"


def test_a_database_that_was_begun_without_encryption_stays_as_it_is(shell: Shell, serve: Serve, database: str) -> None:
    serve(code("FINAL('mark-answer')"))
    assert shell.here("run", "q", "--thread", "mine").exit_code == 0

    assert "begun without encryption" in refused(shell, "run", "q", "-c", "mark-file.txt", "--encrypt")

    assert shell.here("resume", "mine").stdout == "mark-answer\n"
    assert len(json.loads(shell.here("logs", "--json").stdout)) == 1


def test_without_its_extra_encryption_says_what_to_install(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "Crypto.py").write_text("raise ImportError('No module named Crypto')")

    result = subprocess.run(
        [sys.executable, "-m", "rlm_graph", "logs", "--encrypt"], capture_output=True, text=True, cwd=tmp_path,
        env=shell.environment(PYTHONPATH=str(tmp_path), LANGGRAPH_AES_KEY=KEY), timeout=100,
    )  # fmt: skip

    assert result.returncode == 3
    assert "pip install 'rlm-graph[encrypt]'" in result.stderr
