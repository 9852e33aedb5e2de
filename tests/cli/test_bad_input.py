"""What cannot be used: one clear line, the right code, nothing lost and nothing spent."""

from __future__ import annotations

import os
import sqlite3
import subprocess
from collections.abc import Callable

import pytest

from rlm_graph.testing import ScriptedServer
from tests.cli.conftest import Shell, code

Serve = Callable[..., ScriptedServer]

pytestmark = pytest.mark.timeout(300)
"""Each process imports litellm first, which takes many seconds where other tests run beside."""


def refused(shell: Shell, *args: object, status: int, **variables: str) -> str:
    """Run the command, check that it ends with one line and that code, and return the line."""
    result = shell.here(*args, **variables)

    assert result.exit_code == status, result.output
    assert result.stdout == ""
    *_, line = result.stderr.splitlines()
    assert line.startswith("error: ")
    assert "Traceback" not in result.stderr
    return line


@pytest.mark.parametrize(
    ("args", "status", "words"),
    [
        (["run", "  "], 2, "the question is empty"),
        (["run", "q", "-c", "missing.txt"], 2, "missing.txt"),
        (["run", "q", "-c", "empty.txt"], 2, "the context is empty"),
        (["run", "q", "-c", "-", "-c", "-"], 2, "standard input can be read once"),
        (["run", "q", "--schema", "missing.json"], 2, "--schema missing.json: No such file"),
        (["run", "q", "--schema", "nope"], 2, "give a file that holds a JSON schema, or a class as module:Class"),
        (["run", "q", "--schema", "empty.txt"], 2, "--schema empty.txt: not JSON"),
        (["run", "q", "--schema", "list.json"], 2, "a JSON schema is an object"),
        (["run", "q", "--schema", "wrong.json"], 2, "no valid JSON schema"),
        (["run", "q", "--schema", "nowhere:Form"], 2, "--schema nowhere:Form: No module named 'nowhere'; give module"),
        (
            ["run", "q", "--schema", "json:dumps"],
            2,
            "give a pydantic model, another type that pydantic",
        ),
        (["run", "q", "--thread", "a b"], 2, "no name for a run"),
        (["run", "q", "--max-turns", "many"], 2, "--max-turns many: give a whole number from 1 on, or none"),
        (["run", "q", "--max-cost", "-1"], 2, "--max-cost -1: give a number above 0"),
        (["run", "q", "--max-turns", "51"], 3, "budget.max_turns: 51 is over the cap of 50"),
        (["run", "q", "--no-sub-calls", "--max-subcalls", "3"], 2, "exclude each other"),
        (["run", "q", "--executor", "moon"], 2, "executor.kind"),
        (["run", "q", "--base-url", "ftp://x"], 2, "models.base_url: not an http:// or https:// address"),
        (["run", "q", "-o", "nowhere/answer.txt"], 2, "the answer cannot be written to nowhere/answer.txt"),
        (["run", "q", "-o", "."], 2, "it is a folder"),
        (["run", "q", "--config", "missing.toml"], 3, "missing.toml: no such settings file"),
        (["run", "q", "--config", "typo.toml"], 3, "typo.toml: unknown key modle; did you mean model?"),
        (["resume"], 2, "was stopped, has failed or waits"),
        (["resume", "x", "--last"], 2, "say which run"),
        (["resume", "nothing"], 2, "no run 'nothing'"),
        (["resume", "--last"], 2, "holds no run yet"),
        (["resume", "x", "--approve", "--call", "all"], 2, "--call all: give the number of a request that waits"),
        (["fork", "x", "--at", "end"], 2, "--at end: give the number of a turn, from 0 (before the first) on"),
        (["fork", "x", "--at", "-1"], 2, "`rlm-graph logs x` shows them"),
        (["logs", "nothing"], 2, "no run 'nothing'"),
    ],
)
def test_a_mistake_is_one_line_that_names_it(
    args: list[str], status: int, words: str, shell: Shell, serve: Serve
) -> None:
    server = serve("never asked")
    (shell.folder / "empty.txt").touch()
    (shell.folder / "list.json").write_text("[]")
    (shell.folder / "wrong.json").write_text('{"type": "no such type"}')
    (shell.folder / "typo.toml").write_text('modle = "x"')

    line = refused(shell, *args, status=status)

    assert words in line
    assert server.count == 0


@pytest.mark.parametrize(
    "command", [["logs"], ["logs", "x"], ["resume"], ["ask", "x", "q"], ["fork", "x"], ["rm", "x"]]
)
def test_a_mistyped_database_is_not_made(command: list[str], shell: Shell) -> None:
    line = refused(shell, *command, "--db", "rnus.sqlite", status=2)

    assert "--db rnus.sqlite: there is no such file; name one that holds runs" in line
    assert not (shell.folder / "rnus.sqlite").exists()


def test_no_question_is_a_usage_error(shell: Shell) -> None:
    result = shell.here("run")

    assert result.exit_code == 2
    assert "Missing argument 'QUESTION'" in result.stderr


def test_no_model_says_the_three_ways_to_name_one(shell: Shell) -> None:
    line = refused(shell, "run", "q", status=3)

    assert "-m NAME" in line
    assert "RLM_MODEL" in line
    assert "rlm.toml" in line


def test_an_unknown_model_and_a_missing_key_are_settled_before_anything_is_recorded(shell: Shell) -> None:
    unknown = refused(shell, "run", "q", "-m", "opanai/gpt-4o", status=3)
    del shell.variables["OPENAI_API_KEY"]
    keyless = refused(shell, "run", "q", "-m", "openai/gpt-4o", status=3)

    assert "unknown model 'opanai/gpt-4o'" in unknown
    assert "OPENAI_API_KEY" in keyless
    assert shell.here("logs").stdout.startswith("no runs yet")


def test_a_context_larger_than_memory_allows_is_refused_with_the_figures(shell: Shell, serve: Serve) -> None:
    serve("never asked")
    (shell.folder / "large.txt").write_text("x" * 100_000)

    line = refused(shell, "run", "q", "-c", "large.txt", status=2, RLM_CONTEXTS__MAX_MEMORY_BYTES="50000")

    assert "the context is too large" in line


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_file_is_named(shell: Shell, serve: Serve) -> None:
    serve("never asked")
    (shell.folder / "secret.txt").touch(mode=0)

    assert "secret.txt" in refused(shell, "run", "q", "-c", "secret.txt", status=2)


def test_a_file_that_is_no_database_is_left_as_it_is(shell: Shell, serve: Serve) -> None:
    server = serve("never asked")
    (shell.folder / "notes.txt").write_text("mine " * 1000)

    for command in (["run", "q"], ["resume", "--last"], ["logs"]):
        line = refused(shell, *command, "--db", "notes.txt", status=3)
        assert "notes.txt: not a database; left as it is; name another with --db" in line
    assert (shell.folder / "notes.txt").read_text() == "mine " * 1000
    assert server.count == 0


def test_a_database_that_another_program_holds_is_said_to_be_held(shell: Shell, serve: Serve) -> None:
    server = serve(code("FINAL('x')"))
    shell.here("run", "q")
    other = sqlite3.connect(shell.db)
    other.execute("BEGIN IMMEDIATE")

    line = refused(shell, "run", "q", status=3)

    other.close()
    assert "another process holds the database" in line
    assert server.count == 1


def test_two_commands_cannot_work_on_one_run(shell: Shell, serve: Serve) -> None:
    server = serve(code("FINAL('x')"))
    command = shell.command("run", "q", "--thread", "mine", "-q")
    with server.holding(1) as hold, subprocess.Popen(command, env=shell.environment(), stdout=subprocess.PIPE) as first:
        hold.wait(100)

        line = refused(shell, "resume", "mine", status=1)

        hold.release()
        assert "mine" in line
        assert first.communicate(timeout=60)[0] == b"x\n"


def test_a_folder_for_contexts_that_cannot_be_made_is_named(shell: Shell, serve: Serve) -> None:
    serve("never asked")
    (shell.folder / "data").mkdir()
    (shell.folder / "data" / "contexts").touch()
    (shell.folder / "input.txt").write_text("text")

    assert "RLM_DATA_DIR" in refused(shell, "run", "q", "-c", "input.txt", status=3)


def test_an_answer_takes_the_place_of_no_context(shell: Shell) -> None:
    (shell.folder / "input.txt").write_text("the long text")
    (shell.folder / "other.txt").symlink_to("input.txt")

    said = refused(shell, "run", "q", "-c", "input.txt", "-o", "other.txt", "-m", "openai/nothing", status=2)

    assert "the answer would be written over its context, other.txt; name another -o" in said
    assert (shell.folder / "input.txt").read_text() == "the long text"
