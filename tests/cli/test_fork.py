"""A run is taken elsewhere: asked another question, or forked from an earlier turn."""

from __future__ import annotations

import json
from collections.abc import Callable

from rlm_graph.testing import ScriptedServer
from tests.cli.conftest import Shell, code, turns
from tests.storage.test_locks import another_process

Serve = Callable[..., ScriptedServer]


def test_a_second_question_finds_the_variables_and_a_second_context(shell: Shell, serve: Serve) -> None:
    server = serve(code("x = llm_query('once')\nFINAL(x)"))
    for name in ("one.txt", "two.txt"):
        (shell.folder / name).write_text(name)
    shell.here("run", "q", "-c", "one.txt", "--thread", "mine")
    server.script = turns(code("no"), code("FINAL([x, *contexts])"))

    asked = shell.here("ask", "mine", "and now?", "-c", "two.txt", "--json")

    assert asked.exit_code == 0
    assert json.loads(asked.stdout)["answer"] == ["sub-answer", "one.txt", "two.txt"]
    assert len(server.requests_like(lambda request: request.prompt == "once")) == 1
    assert json.loads(shell.here("resume", "mine").stdout) == ["sub-answer", "one.txt", "two.txt"]


def test_a_fork_begins_after_a_turn_and_the_other_run_stays_as_it_was(shell: Shell, serve: Serve) -> None:
    server = serve(code("x = [llm_query('once')]"), code("x.append('b')"), code("FINAL(x)"))
    shell.here("run", "q", "--thread", "mine")
    before = shell.here("logs", "mine", "--json").stdout
    server.script = turns("never", code("FINAL([*x, 'another way'])"))

    forked = shell.here("fork", "mine", "--at", "1", "--thread", "other")
    end = shell.here("fork", "mine", "--thread", "end")

    assert (forked.exit_code, json.loads(forked.stdout)) == (0, ["sub-answer", "another way"])
    assert json.loads(end.stdout) == ["sub-answer", "b"]
    assert len(server.requests_like(lambda request: request.prompt == "once")) == 1
    assert shell.here("logs", "mine", "--json").stdout == before
    assert "forked from: mine after turn 1" in shell.here("logs", "other").stdout


def test_a_fork_can_be_asked_something_else_even_before_the_first_turn(shell: Shell, serve: Serve) -> None:
    server = serve(code("x = 1"), code("FINAL(x)"))
    (shell.folder / "one.txt").write_text("one")
    shell.here("run", "q", "-c", "one.txt", "--thread", "mine")

    server.script = turns(code("FINAL([context, 'x' in globals()])"))
    start = shell.here("fork", "mine", "--at", "0", "--question", "what else?")
    server.script = turns("never", code("FINAL(x + 1)"))
    later = shell.here("fork", "mine", "--at", "1", "--question", "and one more?")

    assert json.loads(start.stdout) == ["one", False]
    assert later.stdout == "2\n"


def test_what_cannot_be_forked_or_asked_is_said(shell: Shell, serve: Serve) -> None:
    serve(code("FINAL(1)"))
    shell.here("run", "q", "--thread", "mine")
    shell.here("run", "q", "--approve", "code", "--thread", "waits")

    late, taken = shell.here("fork", "mine", "--at", "9"), shell.here("fork", "mine", "--thread", "waits")
    early = shell.here("ask", "waits", "and?")
    with another_process(str(shell.db), "mine") as process:
        held = shell.here("ask", "mine", "and?")

    assert [late.exit_code, taken.exit_code, early.exit_code, held.exit_code] == [2, 2, 2, 1]
    assert "from 0 to 1" in late.stderr
    assert "rlm-graph resume waits" in early.stderr
    assert f"process {process.pid}" in held.stderr


def test_waiting_says_once_for_whom_and_goes_on_when_the_run_is_free(shell: Shell, serve: Serve) -> None:
    import subprocess

    serve(code("FINAL(1)"))
    shell.here("run", "q", "--thread", "mine")

    with another_process(str(shell.db), "mine") as holder:
        command = shell.command("resume", "mine", "--wait")
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=shell.environment()
        ) as waiter:
            assert waiter.stderr is not None
            assert f"held by process {holder.pid}" in waiter.stderr.readline()
            holder.kill()
            out, said = waiter.communicate(timeout=100)

    assert out == "1\n"
    assert "waiting" not in said
