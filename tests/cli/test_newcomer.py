"""What a new user types, and what the command makes of it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable

import pytest

from rlm_graph.cli.arguments import gathered
from rlm_graph.testing import ScriptedReply, ScriptedServer
from tests.cli.conftest import Shell, code

Serve = Callable[..., ScriptedServer]

VALUED = frozenset({"-c", "--context", "-m", "--model", "-o"})


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("q -c a", "q -c a"),
        ("q -c a b c", "q -c a -c b -c c"),
        ("-c a b q", "-c a -c b q"),
        ("-c a q", "-c a q"),
        ("q -qc a b -m x", "q -qc a -c b -m x"),
        ("q -c a b -m x -c d e", "q -c a -c b -m x -c d -c e"),
        ("q --context=a b", "q --context=a -c b"),
        ("q -m x y", "q -m x y"),
        ("q r -c a", "q r -c a"),
        ("q -c - b", "q -c - -c b"),
        ("-c a -- q b", "-c a -- q b"),
        ("", ""),
    ],
)
def test_words_after_a_context_are_contexts_as_long_as_the_question_is_left(given: str, read: str) -> None:
    assert gathered(given.split(), needed=1, valued=VALUED) == read.split()


def test_a_pattern_that_the_shell_has_expanded_names_contexts(shell: Shell, serve: Serve) -> None:
    serve(code("FINAL(sorted(context))"))
    for name in ("a.txt", "b.txt", "c.txt"):
        (shell.folder / name).write_text(name)

    done = shell.here("agent", "-q", "-c", "a.txt", "b.txt", "c.txt", "what is it?", "--json")

    assert json.loads(done.stdout)["answer"] == ["a.txt", "b.txt", "c.txt"]


def test_resume_alone_takes_the_last_run_that_is_not_finished(shell: Shell, serve: Serve) -> None:
    server = serve(script=lambda request: ScriptedReply(status=400, error="no") if broken else code("FINAL('fine')"))
    broken = True
    for name in ("older", "newer"):
        shell.here("run", f"the {name} one", "--thread", name)
    broken = False
    shell.here("run", "q", "--thread", "done")

    done, again = shell.here("resume"), shell.here("resume", "-q")
    nothing = shell.here("resume")

    assert done.stdout == again.stdout == "fine\n"
    assert "run newer (failed): the newer one" in done.stderr
    assert again.stderr == ""
    assert nothing.exit_code == 2
    assert {run["id"]: run["status"] for run in json.loads(shell.here("logs", "--json").stdout)} == {
        "older": "done",
        "newer": "done",
        "done": "done",
    }
    assert server.count > 0


def test_what_to_do_next_is_said_with_the_flags_that_find_the_run(shell: Shell, serve: Serve) -> None:
    serve(code("FINAL('fine')"))

    done = shell.here("run", "q", "--thread", "mine", "--db", "of mine.sqlite")
    missing = shell.here("logs", "other", "--db", "of mine.sqlite")

    assert done.stderr.splitlines()[-1] == "show it: rlm-graph logs mine --db 'of mine.sqlite'"
    assert "`rlm-graph logs --db 'of mine.sqlite'` lists all" in missing.stderr
    assert shell.here("logs", "mine", "--db", "of mine.sqlite").exit_code == 0


def test_a_database_in_a_folder_that_is_not_there_is_refused(shell: Shell, serve: Serve) -> None:
    server = serve("never asked")

    done = shell.here("run", "q", "--db", "nosuch/runs.sqlite")

    assert done.exit_code == 2
    assert "there is no folder nosuch" in done.stderr
    assert not (shell.folder / "nosuch").exists()
    assert server.count == 0


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--timeout", "1800"], "raise caps.timeout_s (RLM_CAPS__TIMEOUT_S=1800)"),
        (["--executor", "dokcer"], "did you mean docker?"),
        (["--max-cost", "abc"], "--max-cost abc: give a number above 0"),
        (["--max-turns", "1.5"], "--max-turns 1.5: give a whole number from 1 on"),
        (["--max-subcalls", "-1"], "--max-subcalls -1: give a whole number from 0 on"),
        (["--timeout", "nan"], "--timeout nan: give a number above 0"),
        (["--approve"], "--approve code, or --approve subcalls"),
        (["--approve", "-q"], "--approve code, or --approve subcalls"),
    ],
)
def test_a_mistake_is_said_in_the_words_of_the_command(args: list[str], words: str, shell: Shell, serve: Serve) -> None:
    server = serve("never asked")

    done = shell.here("run", "q", *args)

    assert done.exit_code in (2, 3)
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert server.count == 0


def test_a_ceiling_that_was_lifted_says_how_far(shell: Shell, serve: Serve) -> None:
    serve(code("FINAL(1)"))

    assert "none lifts it up to the cap of 600" in shell.here("run", "q", "--timeout", "none").stderr
    assert "cap" not in shell.here("run", "q", "--timeout", "none", RLM_CAPS__TIMEOUT_S="none").stderr


def test_a_model_of_ollamas_is_told_its_name_here(shell: Shell) -> None:
    done = shell.here("run", "q", "-m", "qwen3:8b")

    assert done.exit_code == 3
    assert "ollama/qwen3:8b" in done.stderr
    assert "--base-url URL" in done.stderr


def test_a_decision_on_a_run_that_has_answered_does_not_advise_to_resume_it(shell: Shell, serve: Serve) -> None:
    serve(code("FINAL(1)"))
    shell.here("run", "q", "--thread", "mine")

    done = shell.here("resume", "mine", "--approve")

    assert done.exit_code == 2
    assert "`rlm-graph logs mine`" in done.stderr
    assert "rlm-graph resume" not in done.stderr


def test_a_fork_says_what_it_has_spent_itself(shell: Shell, serve: Serve) -> None:
    serve(code("x = llm_query('p')"), code("x = llm_query('r')"), code("FINAL(1)"))
    shell.here("run", "q", "--thread", "mine")

    forked = shell.here("fork", "mine", "--at", "2", "--thread", "branch")
    asked = shell.here("ask", "branch", "and?")

    assert "1 turn · 0 sub-calls · " in forked.stderr
    assert "spent: 1 turn · 0 sub-calls · " not in shell.here("logs", "mine").stdout
    assert "1 turn · 0 sub-calls · " in asked.stderr


def test_the_scripted_server_says_that_its_port_is_taken(shell: Shell) -> None:
    (shell.folder / "script.py").write_text("script = ['x']")
    with ScriptedServer(lambda request: "x") as server:
        port = server.url.rpartition(":")[2].partition("/")[0]
        command = [sys.executable, "-m", "rlm_graph.testing", "--script", "script.py", "--port", port]

        done = subprocess.run(command, capture_output=True, text=True, cwd=shell.folder, timeout=100)

    assert done.returncode == 1
    assert done.stderr == f"port {port}: Address already in use; --port 0 takes a free one\n"


def test_room_is_shown_of_an_encrypted_database_too(shell: Shell, serve: Serve) -> None:
    serve(code("FINAL(1)"))
    shell.here("run", "q")

    assert shell.here("du", "--encrypt").exit_code == 0


@pytest.mark.parametrize("client", [{}, {"RLM_MODELS__CLIENT": "litellm"}], ids=["own", "litellm"])
def test_a_quiet_run_prints_nothing_but_the_answer(client: dict[str, str], shell: Shell, serve: Serve) -> None:
    # `make newest` asks this of the versions that a user gets today.
    serve(code("FINAL('fine')"))

    done = shell.run("run", "q", "-q", env=client)

    assert (done.returncode, done.stdout, done.stderr) == (0, b"fine\n", b"")


def test_the_variables_of_other_programs_stop_no_run_and_print_nothing(shell: Shell, serve: Serve) -> None:
    serve(code("FINAL('fine')"))

    others = shell.here("run", "q", RLM_LICENSE="5053@licences.example.org", RLM_DEBUG="1")
    slip = shell.here("run", "q", RLM_MAX_TOKENS="50000")

    assert others.exit_code == slip.exit_code == 0
    assert "RLM_" not in others.stderr
    assert "did you mean RLM_BUDGET__MAX_TOKENS?" in slip.stderr
    assert "RLM_" not in shell.here("run", "q", "-q", RLM_MAX_TOKENS="50000").stderr


def test_a_current_folder_that_is_gone_is_said_in_a_line(shell: Shell, serve: Serve) -> None:
    serve("never asked")
    gone = shell.folder / "gone"
    gone.mkdir()
    command = ["sh", "-c", 'rmdir "$PWD" && exec "$@"', "sh", *shell.command("run", "q")]

    done = subprocess.run(command, capture_output=True, text=True, cwd=gone, env=shell.environment(), timeout=100)

    assert done.returncode == 3
    assert done.stderr == "error: the current folder has been deleted; change to another one\n"


def test_a_log_of_keys_that_cannot_be_written_is_named_before_anything_is_recorded(shell: Shell, serve: Serve) -> None:
    server = serve("never asked")
    place = shell.folder / "gone" / "keys"

    done = shell.here("run", "q", SSLKEYLOGFILE=str(place))

    assert done.exit_code == 3
    assert done.stderr == f"error: SSLKEYLOGFILE ({place}) cannot be written: No such file or directory; unset it\n"
    assert shell.here("logs").stdout.startswith("no runs yet")
    assert server.count == 0


def test_names_that_are_no_text_are_refused_and_databases_with_such_names_are_used(shell: Shell, serve: Serve) -> None:
    serve(code("FINAL('fine')"))
    odd = b"caf\xe9"

    refused = subprocess.run(
        [*shell.command("run", "q", "-m"), odd], capture_output=True, env=shell.environment(), timeout=100
    )
    ran = [
        subprocess.run(
            [*shell.command(*args, "--db"), odd + b".sqlite"],
            capture_output=True,
            cwd=shell.folder,
            env=shell.environment(),
            timeout=100,
        )
        for args in (("run", "q", "--thread", "mine"), ("logs",))
    ]

    assert (refused.returncode, refused.stderr) == (2, b"error: -m caf\\udce9: is not text in UTF-8\n")
    assert ran[0].stdout == b"fine\n"
    assert b"mine" in ran[1].stdout
