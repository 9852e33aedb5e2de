"""A run may wait for a human; the process may end in between."""

from __future__ import annotations

import json
from collections.abc import Callable

from rlm_graph.testing import ScriptedServer
from tests.cli.conftest import MODEL, Shell, code

Serve = Callable[..., ScriptedServer]


def test_code_waits_is_shown_as_text_and_runs_when_it_is_approved(shell: Shell, serve: Serve) -> None:
    serve(code("x = '\x1b[31m'\nFINAL(6 * 7)"))

    paused = shell.here("run", "q", "--approve", "code", "--thread", "mine")
    again = shell.here("resume", "mine", "--json")
    done = shell.here("resume", "mine", "--approve")

    assert (paused.exit_code, paused.stdout) == (7, "")
    assert "FINAL(6 * 7)" in paused.stderr
    assert "\\x1b[31m" in paused.stderr
    assert "\x1b" not in paused.stderr
    assert "rlm-graph resume mine --approve | --reject" in paused.stderr
    assert again.exit_code == 7
    assert json.loads(again.stdout)["waiting"][0]["kind"] == "code"
    assert (done.exit_code, done.stdout) == (0, "42\n")


def test_rejected_code_is_told_to_the_model_and_edited_code_runs_in_its_place(shell: Shell, serve: Serve) -> None:
    server = serve(code("FINAL('bad')"), code("FINAL('better')"))
    (shell.folder / "mine.py").write_text("FINAL('mine')")
    shell.here("run", "q", "--approve", "code", "--thread", "mine")

    rejected = shell.here("resume", "mine", "--reject", "--reason", "too dear")
    done = shell.here("resume", "mine", "--edit", "mine.py")

    assert rejected.exit_code == 7
    assert "FINAL('better')" in rejected.stderr
    assert "too dear" in server.requests[-1].prompt
    assert (done.exit_code, done.stdout) == (0, "mine\n")


def test_of_several_calls_one_is_decided_or_all(shell: Shell, serve: Serve) -> None:
    server = serve(
        code("FINAL([str(answer) for answer in llm_query_batched(['first', 'second'], return_exceptions=True)])")
    )

    paused = shell.here("run", "q", "--approve", "subcalls", "--thread", "mine")
    number = "1" if paused.stderr.index("first") < paused.stderr.index("second") else "2"
    one = shell.here("resume", "mine", "--reject", "--call", number)
    done = shell.here("resume", "mine", "--approve", "--json")

    assert (paused.exit_code, one.exit_code, done.exit_code) == (7, 7, 0)
    first, second = json.loads(done.stdout)["answer"]
    assert "rejected" in first
    assert second == "sub-answer"
    assert [request.prompt for request in server.requests if request.prompt in ("first", "second")] == ["second"]


def test_a_decision_that_fits_nothing_is_refused_and_leaves_the_run_as_it_was(shell: Shell, serve: Serve) -> None:
    serve(code("FINAL(1)"))
    shell.here("run", "q", "--approve", "code", "--thread", "waits")
    shell.here("run", "q", "--thread", "done")

    wrong = [
        shell.here("resume", "waits", "--approve", "--call", "3"),
        shell.here("resume", "waits", "--approve", "--reject"),
        shell.here("resume", "waits", "--edit", "nothing.py"),
        shell.here("resume", "done", "--approve"),
        shell.here("run", "q", "--approve", "everything"),
    ]

    assert [result.exit_code for result in wrong] == [2] * 5
    assert {run["id"]: run["status"] for run in json.loads(shell.here("logs", "--json").stdout)} == {
        "waits": "waiting",
        "done": "done",
    }
    assert shell.here("resume", "waits", "--approve").stdout == "1\n"


def test_what_code_asks_for_is_shown_with_what_waits(shell: Shell, serve: Serve) -> None:
    serve(code(f"FINAL(rlm_query('why?', 'text', model={MODEL!r}, budget={{'max_turns': 2}}))"))

    paused = shell.here("run", "q", "--approve", "subcalls", "--thread", "mine")
    listed = json.loads(shell.here("logs", "mine", "--json").stdout)

    assert f"--- 1 of 1: rlm_query ({MODEL}, max_turns 2) ---" in paused.stderr
    assert f"rlm_query ({MODEL}, max_turns 2)" in shell.here("logs", "mine").stdout
    [waiting] = listed["waiting"]
    assert (waiting["model"], waiting["budget"]["max_turns"]) == (MODEL, 2)
