"""`rlm-graph run`: the answer on stdout, all else on stderr, and a code that says how it ended."""

from __future__ import annotations

import itertools
import json
import shlex
import subprocess
import sys
from collections.abc import Callable

import pytest

from rlm_graph.testing import ScriptedReply, ScriptedServer
from tests.cli.conftest import MODEL, Shell, code, turns
from tests.runs.test_reads import connections
from tests.storage.test_locks import another_process

Serve = Callable[..., ScriptedServer]

pytestmark = pytest.mark.timeout(300)
"""Each process imports litellm first, which takes many seconds where other tests run beside."""

LOOK = code("print(len(context), 'characters')")
ASK = code("answer_of_sub = llm_query('what is in ' + context[:10])\nprint(answer_of_sub)")
END = code("FINAL('it says ' + answer_of_sub)")


def test_the_answer_alone_goes_to_stdout_and_the_summary_to_stderr(shell: Shell, serve: Serve) -> None:
    serve(LOOK, ASK, END)
    (shell.folder / "input.txt").write_text("the long text")

    done = shell.run("run", "what does it say?", "-c", "input.txt")

    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout == b"it says sub-answer\n"
    said = done.stderr.decode()
    assert "3 turns · 1 sub-call · " in said
    assert "$0.0" in said
    run = shell.here("logs", "--json").stdout
    name = json.loads(run)[0]["id"]
    assert f"run {name}" in said
    assert f"rlm-graph logs {name}" in said
    assert "\x1b" not in said  # no terminal, no colours


def test_json_is_one_object_with_the_answer_and_what_it_took(shell: Shell, serve: Serve) -> None:
    serve(code("FINAL({'n': [1, 2], 'name': 'é'})"))

    result = shell.here("run", "count", "--json", "--thread", "mine")

    record = json.loads(result.stdout)
    assert result.exit_code == 0
    assert (record["run"], record["answer"]) == ("mine", {"n": [1, 2], "name": "é"})
    assert json.loads(record["text"]) == record["answer"]
    assert (record["complete"], record["ceiling"], record["model"]) == (True, None, MODEL)
    assert record["usage"]["turns"] == 1
    assert record["usage"]["tokens"] == record["usage"]["input_tokens"] + record["usage"]["output_tokens"] > 0
    assert record["usage"]["cost_usd"] > 0


def test_an_unknown_price_is_null_and_not_zero(shell: Shell, serve: Serve) -> None:
    serve(code("FINAL(1)"))

    result = shell.here("run", "count", "--json", "-m", "openai/a-model-of-our-own")

    assert json.loads(result.stdout)["usage"]["cost_usd"] is None
    assert "cost unknown" in result.stderr


def test_an_unknown_price_is_refused_under_a_ceiling_on_cost_unless_allowed(shell: Shell, serve: Serve) -> None:
    server = serve(code("FINAL(1)"))
    question = ("run", "count", "-m", "openai/a-model-of-our-own", "--max-cost", "1")

    refused = shell.here(*question)

    assert refused.exit_code == 3
    assert "--allow-unpriced" in refused.stderr
    assert server.count == 0
    assert shell.here(*question, "--allow-unpriced").stdout == "1\n"


@pytest.mark.parametrize("answer", ["no newline", "one newline\n", "two\n\n"])
def test_a_file_holds_the_answer_to_the_byte_and_stdout_nothing(answer: str, shell: Shell, serve: Serve) -> None:
    serve(code(f"FINAL({answer!r})"))
    (shell.folder / "answer.txt").write_text("old")

    result = shell.here("run", "q", "-o", "answer.txt")

    assert result.exit_code == 0
    assert result.stdout == ""
    assert (shell.folder / "answer.txt").read_text() == answer
    assert [file.name for file in shell.folder.iterdir() if file.name.startswith(".")] == []


def test_a_pipe_gets_the_answer_as_it_is(shell: Shell, serve: Serve) -> None:
    serve(code(r"FINAL('\x1b[31m\u202e [bold] \r\n 世界')"))

    done = shell.run("run", "q", "-q")

    assert done.stdout.decode() == "\x1b[31m\u202e [bold] \r\n 世界\n"
    assert done.stderr == b""


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_goes_away_ends_the_command_quietly(unbuffered: str, shell: Shell, serve: Serve) -> None:
    serve(code("FINAL('x' * 5_000_000)"))

    command, pipe = shell.command("run", "q"), subprocess.PIPE
    environment = shell.environment(PYTHONUNBUFFERED=unbuffered)
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, env=environment) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(10)
        process.stdout.close()
        said = process.stderr.read().decode()

    assert process.returncode == 1
    assert "Traceback" not in said
    assert "BrokenPipe" not in said
    assert json.loads(shell.here("logs", "--json").stdout)[0]["status"] == "done"


def test_an_answer_that_cannot_be_written_is_kept(shell: Shell, serve: Serve) -> None:
    server = serve(code("FINAL('kept')"))

    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            shell.command("run", "q", "--thread", "mine"), stdout=full, stderr=subprocess.PIPE, env=shell.environment()
        )

    assert done.returncode == 1
    expected = "error: stdout cannot be written: No space left on device; the answer is kept: rlm-graph resume mine"
    assert done.stderr.decode().splitlines()[-1] == expected
    assert shell.here("resume", "mine").stdout == "kept\n"
    assert server.count == 1


def test_a_table_that_cannot_be_written_is_an_error_in_one_line(shell: Shell, serve: Serve) -> None:
    serve(code("FINAL('kept')"))
    shell.here("run", "q")

    with open("/dev/full", "wb") as full:
        done = subprocess.run(shell.command("logs"), stdout=full, stderr=subprocess.PIPE, env=shell.environment())

    assert done.returncode == 1
    assert done.stderr.decode() == "error: stdout cannot be written: No space left on device\n"


def test_closed_streams_are_said_before_anything_is_spent(shell: Shell, serve: Serve) -> None:
    server = serve("never asked")
    command = shlex.join(shell.command("run", "q", "-c", "-"))

    for closed, words in (("<&-", "standard input is closed"), (">&-", "standard output is closed")):
        done = subprocess.run(["sh", "-c", f"{command} {closed}"], capture_output=True, env=shell.environment())
        assert done.returncode == 2
        assert words in done.stderr.decode()
    assert server.count == 0


def test_a_killed_run_goes_on_where_it_stood_even_under_another_budget(shell: Shell, serve: Serve) -> None:
    server = serve(script=turns(code("seen = llm_query('one')\nseen += llm_query('two')"), code("FINAL(seen)")))
    command = shell.command("run", "q", "--thread", "mine", "-q")

    with server.holding(lambda request: request.prompt == "two") as hold:
        with subprocess.Popen(command, env=shell.environment()) as process:
            hold.wait(100)
            process.kill()
        hold.release()
        resumed = shell.here("resume", "mine", "--max-turns", "20")

    assert (resumed.exit_code, resumed.stdout) == (0, "sub-answersub-answer\n")
    assert len(server.requests_like(lambda request: request.prompt == "one")) == 1


def test_quiet_says_nothing_and_verbose_shows_code_and_output(shell: Shell, serve: Serve) -> None:
    serve(code("print('look', 6 * 7)"), code("FINAL('done')"))

    quiet, verbose = shell.here("run", "q", "-q"), shell.here("run", "q", "-v")

    assert quiet.stderr == ""
    assert "print('look', 6 * 7)" in verbose.stderr
    assert "look 42" in verbose.stderr
    assert quiet.stdout == verbose.stdout == "done\n"


def test_standard_input_is_a_context(shell: Shell, serve: Serve) -> None:
    serve(code("FINAL(context[:7] + context[-1])"))

    done = shell.run("run", "q", "-c", "-", "-q", input="smörgås\n".encode() * 1000 + b"!")

    assert done.stdout.decode() == "smörgås!\n"


def test_several_contexts_come_by_their_names(shell: Shell, serve: Serve) -> None:
    serve(code("FINAL(sorted(context.items()))"))
    for name in ("a.txt", "b.txt"):
        (shell.folder / name).write_text(f"text of {name}")

    result = shell.here("run", "q", "-c", "a.txt", "-c", "b.txt", "-q", "--json")

    assert [item[1] for item in json.loads(result.stdout)["answer"]] == ["text of a.txt", "text of b.txt"]


def test_binary_data_is_refused_with_what_turns_it_into_text_before_anything_is_paid(
    shell: Shell, serve: Serve
) -> None:
    server = serve(code("FINAL(str(len(context)))"))
    (shell.folder / "data.bin").write_bytes(bytes(range(256)))

    result = shell.here("run", "q", "-c", "data.bin")

    assert (result.exit_code, result.stdout) == (2, "")
    assert "data.bin is binary, not text: turn it into text first" in result.stderr
    assert server.count == 0


def test_a_schema_shapes_the_answer(shell: Shell, serve: Serve) -> None:
    (shell.folder / "schema.json").write_text('{"type": "object", "required": ["n"]}')
    serve(code("FINAL('nothing like it')"), code("FINAL({'n': 7})"))

    result = shell.here("run", "q", "--schema", "schema.json", "--json")

    assert result.exit_code == 0
    assert json.loads(result.stdout)["answer"] == {"n": 7}


def test_a_ceiling_gives_the_best_answer_so_far_and_the_way_on(shell: Shell, serve: Serve) -> None:
    server = serve(LOOK, ASK, END)
    (shell.folder / "input.txt").write_text("the long text")
    server.script = turns(LOOK, ASK, "FINAL(as far as I can tell)", subcall="fish")

    partial = shell.here("run", "q", "-c", "input.txt", "--max-turns", "2", "--thread", "mine")

    assert partial.exit_code == 4
    assert partial.stdout == "as far as I can tell\n"
    assert "max_turns reached" in partial.stderr
    assert "rlm-graph resume mine --max-turns" in partial.stderr

    same = shell.here("resume", "mine")
    assert (same.exit_code, same.stdout) == (4, partial.stdout)

    server.script = turns(END, subcall="nobody asks again")
    asked = server.count
    whole = shell.here("resume", "mine", "--max-turns", "6")
    assert (whole.exit_code, whole.stdout) == (0, "it says fish\n")
    assert server.count == asked + 1


def test_a_run_of_that_name_is_not_overwritten(shell: Shell, serve: Serve) -> None:
    server = serve(code("FINAL('first')"))
    shell.here("run", "q", "--thread", "mine")

    again = shell.here("run", "another question", "--thread", "mine")

    assert again.exit_code == 2
    assert "rlm-graph resume mine" in again.stderr
    assert server.count == 1
    assert shell.here("resume", "mine").stdout == "first\n"


def test_a_done_run_prints_its_answer_again_and_asks_nobody(shell: Shell, serve: Serve) -> None:
    server = serve(code("FINAL('once')"))
    shell.here("run", "q")

    again = shell.here("resume", "--last", "--json")

    assert json.loads(again.stdout)["answer"] == "once"
    assert server.count == 1


def test_a_command_opens_the_database_once(shell: Shell, serve: Serve) -> None:
    serve(code("FINAL(1)"))
    (shell.folder / "input.txt").write_text("the long text")
    commands = (
        ("run", "q", "-c", "input.txt", "--thread", "mine"),
        ("resume", "mine"),
        ("resume", "--last"),
        ("logs",),
    )

    for command in commands:
        with connections() as made:
            assert shell.here(*command).exit_code == 0
        assert made in ([str(shell.db)], [str(shell.db)] * 2)  # one connection reads, and one writes if need be


def test_a_provider_that_cannot_be_reached_is_one_line_and_the_run_can_go_on(shell: Shell, serve: Serve) -> None:
    server = serve(LOOK, code("FINAL(context)"))
    (shell.folder / "input.txt").write_text("the long text")
    nobody = {"RLM_MODELS__BASE_URL": "http://127.0.0.1:9/v1", "RLM_MODELS__MAX_RETRIES": "0"}

    failed = shell.here("run", "q", "-c", "input.txt", "--thread", "mine", **nobody)

    assert failed.exit_code == 6
    assert failed.stdout == ""
    *_, way_on, error = failed.stderr.splitlines()
    assert error.startswith("error: ")
    assert "127.0.0.1:9" in error
    assert "rlm-graph resume mine" in way_on

    resumed = shell.here("resume", "mine", "--base-url", server.url)
    assert (resumed.exit_code, resumed.stdout) == (0, "the long text\n")


def test_a_key_that_is_refused_is_told_in_the_providers_words(shell: Shell, serve: Serve) -> None:
    serve(ScriptedReply(status=401, error="Incorrect API key provided"))

    result = shell.here("run", "q")

    assert result.exit_code == 6
    assert "Incorrect API key provided" in result.stderr.splitlines()[-1]


def test_without_sub_calls_code_asks_no_model_and_is_told_so(shell: Shell, serve: Serve) -> None:
    ask = code("try:\n    llm_query('p')\nexcept BudgetExceeded as error:\n    print('refused:', error)")
    server = serve(ask, code("FINAL('alone')"))

    done = shell.here("run", "q", "--no-sub-calls")

    assert done.stdout == "alone\n"
    assert "no sub-calls: llm_query and its kin are off" in server.requests[0].text
    assert "refused: max_subcalls reached" in server.requests[1].text


def test_a_name_that_another_process_works_on_is_waited_for(shell: Shell, serve: Serve) -> None:
    serve(code("FINAL('x')"))
    shell.here("logs")  # makes the database

    with another_process(str(shell.db), "mine") as process:
        refused = shell.here("run", "q", "--thread", "mine")
        listed = json.loads(shell.here("logs", "--json").stdout)
        waiting = subprocess.Popen(
            shell.command("run", "q", "--thread", "mine", "--wait"), cwd=shell.folder, env=shell.environment(),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert waiting.stderr is not None
        told = waiting.stderr.readline()
        process.kill()
        stdout, stderr = waiting.communicate(timeout=100)

    assert (refused.exit_code, listed) == (1, [])
    assert f"held by process {process.pid}" in refused.stderr
    assert f"process {process.pid}" in told
    assert (waiting.returncode, stdout) == (0, "x\n"), stderr


FORMS = """
from pydantic import BaseModel, field_validator

class Port(BaseModel):
    name: str
    depth_m: float

    @field_validator("name")
    @classmethod
    def _is_a_port(cls, name):
        if name == "Bern":
            raise ValueError("no port there")
        return name
"""


def test_a_class_is_the_form_of_the_answer_with_its_own_validators_and_holds_when_resumed(
    shell: Shell, serve: Serve
) -> None:
    (shell.folder / "forms.py").write_text(FORMS)
    server = serve(code("FINAL({'name': 'Bern', 'depth_m': 3})"), code("FINAL({'name': 'Basel', 'depth_m': '3.5'})"))

    waiting = shell.here("run", "q", "--schema", "forms:Port", "--thread", "port", "--approve", "code")
    shell.here("resume", "port", "--approve")
    done = shell.here("resume", "port", "--approve")

    assert waiting.exit_code == 7, waiting.output
    assert json.loads(done.stdout) == {"name": "Basel", "depth_m": "3.5"}
    assert "no port there" in server.requests[1].text


def test_a_module_of_the_current_folder_takes_the_place_of_no_other(shell: Shell) -> None:
    (shell.folder / "forms.py").write_text("from pydantic import BaseModel\n\nclass Port(BaseModel):\n    name: str\n")
    for name in ("json", "fractions", "colorsys"):
        (shell.folder / f"{name}.py").write_text("open('taken', 'w')\nraise SystemExit(9)\n")
    look = "import sys; import colorsys, fractions; print(sys.path.count(''), sys.path.count(sys.argv[1]))"
    read = f"from rlm_graph.runs.answer_form import read_schema; read_schema('forms:Port'); {look}"

    seen = subprocess.run(
        [sys.executable, "-P", "-c", read, str(shell.folder)], cwd=shell.folder, capture_output=True, text=True
    )

    assert (seen.returncode, seen.stdout) == (0, "0 0\n"), seen.stderr
    assert not (shell.folder / "taken").exists()


def test_stream_shows_the_models_words_and_what_became_of_them(shell: Shell, serve: Serve) -> None:
    serve(code("print('said \\x1b[2J', llm_query('p'))"), code("FINAL('end')"))

    done = shell.here("run", "q", "--stream")

    assert done.stdout == "end\n"
    assert "print('said" in done.stderr
    assert "llm_query(p) → sub-answer" in done.stderr
    assert "cell 1: ok" in done.stderr
    assert "sub-answer" in done.stderr.partition("cell 1: ok")[2]
    assert "\x1b" not in done.stderr
    lines = done.stderr.splitlines()
    assert lines.count("```repl") == 2
    assert all(one != next for one, next in itertools.pairwise(lines))


def test_a_stream_as_json_is_one_object_a_line_and_the_answer_is_alone_on_stdout(shell: Shell, serve: Serve) -> None:
    serve(code("print(llm_query('p'))"), code("FINAL('end')"))

    done = shell.here("run", "q", "--stream", "--json")

    assert json.loads(done.stdout)["answer"] == "end"
    assert len(done.stdout.splitlines()) == 1
    told = [json.loads(line) for line in done.stderr.splitlines()]
    assert {"token", "turn", "cell", "call", "subcall", "output", "budget", "answer", "message"} == {
        event["kind"] for event in told
    }
    [root] = {event["call_id"] for event in told if event["kind"] == "turn"}
    assert [event["parent_id"] for event in told if event["kind"] == "subcall"] == [root]


def test_the_answer_to_another_question_comes_with_that_question(shell: Shell, serve: Serve) -> None:
    serve(code("FINAL('first')"), code("FINAL('second')"))
    shell.here("run", "what came first?", "--thread", "mine")

    asked = json.loads(shell.here("ask", "mine", "and then?", "--json").stdout)
    again = json.loads(shell.here("resume", "mine", "--json").stdout)

    assert (asked["question"], asked["answer"]) == ("and then?", "second")
    assert (again["question"], again["answer"]) == ("and then?", "second")


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
def test_an_answer_to_an_open_stream_leaves_what_was_written_there(name: str, shell: Shell, serve: Serve) -> None:
    serve(code("FINAL('answer')"))
    kept = shell.folder / "kept.txt"
    kept.write_text("before\n")

    with kept.open("ab") as file:
        subprocess.run(shell.command("run", "q", "-o", name), stdout=file, env=shell.environment(), check=True)
        file.write(b" after")

    assert kept.read_text() == "before\nanswer after"


def test_a_descriptor_that_is_closed_is_refused_before_anything_is_spent(shell: Shell, serve: Serve) -> None:
    server = serve("never asked")

    refused = shell.run("run", "q", "-o", "/dev/fd/77")

    assert refused.returncode == 2
    assert "the answer cannot be written to /dev/fd/77: Bad file descriptor" in refused.stderr.decode()
    assert server.count == 0


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("command", [("logs",), ("logs", "mine"), ("config", "show"), ("--version",)])
def test_a_result_for_which_there_is_no_room_is_one_line(
    command: tuple[str, ...], unbuffered: str, shell: Shell, serve: Serve
) -> None:
    serve(code("FINAL('kept')"))
    shell.here("run", "q", "--thread", "mine")

    with open("/dev/full", "wb") as full:
        environment = shell.environment(PYTHONUNBUFFERED=unbuffered)
        done = subprocess.run(shell.command(*command), stdout=full, stderr=subprocess.PIPE, env=environment)

    assert done.returncode == 1
    assert done.stderr == b"error: stdout cannot be written: No space left on device\n"
