"""`rlm-graph logs`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import pytest

from rlm_graph.storage.runs import Runs
from rlm_graph.testing import ScriptedServer
from tests.cli.conftest import MODEL, Shell, code
from tests.storage.test_locks import another_process

Serve = Callable[..., ScriptedServer]


def test_without_a_run_all_are_listed_the_newest_first(shell: Shell, serve: Serve) -> None:
    serve(code("FINAL('x')"))
    for name in ("first", "second"):
        shell.here("run", f"the {name} question", "--thread", name)

    lines = shell.here("logs").stdout.splitlines()

    assert [line.split()[0] for line in lines] == ["run", "second", "first"]
    assert "done" in lines[1]
    assert MODEL in lines[1]
    assert lines[1].endswith("the second question")
    assert [run["id"] for run in json.loads(shell.here("logs", "--json").stdout)] == ["second", "first"]


@pytest.mark.parametrize("kind", ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def test_a_run_whose_process_has_died_is_not_shown_as_running(
    shell: Shell, request: pytest.FixtureRequest, kind: str
) -> None:
    place = shell.db if kind == "sqlite" else request.getfixturevalue("postgres")
    shell.variables["RLM_DB"] = str(place)

    async def enter() -> None:
        async with Runs.open(place) as runs:
            for name in ("held", "left"):
                await runs.create(question="q", source="", model="m", settings={}, id=name)

    asyncio.run(enter())

    with another_process(str(place), "held"):
        listed = json.loads(shell.here("logs", "--json").stdout)
        under_way = json.loads(shell.here("ps", "--json").stdout)
        shown = [shell.here("logs", name).stdout.splitlines()[0] for name in ("held", "left")]

    assert {run["id"]: run["status"] for run in listed} == {"held": "running", "left": "interrupted"}
    assert [run["run"] for run in under_way] == ["held"]
    assert [line.split(" · ")[1] for line in shown] == ["running", "interrupted"]


def test_no_runs_is_said(shell: Shell) -> None:
    assert shell.here("logs").stdout == f"no runs yet in {shell.db}\n"
    assert json.loads(shell.here("logs", "--json").stdout) == []


def test_a_run_is_shown_with_its_code_its_output_its_calls_and_what_was_spent(shell: Shell, serve: Serve) -> None:
    serve(code("for n in range(3):\n    print(llm_query(f'part {n}'))"), code("1 / 0"), code("FINAL('the end')"))
    shell.here("run", "what is it?", "--thread", "mine")

    shown = shell.here("logs", "mine").stdout

    assert "question: what is it?" in shown
    assert "turn 1: 1 cell, 3 calls" in shown
    assert "print(llm_query(f'part {n}'))" in shown
    assert "out: sub-answer" in shown
    assert "ZeroDivisionError in line 1" in shown
    assert "answer: the end" in shown
    assert "spent: 3 turns · 3 sub-calls · " in shown
    record = json.loads(shell.here("logs", "mine", "--json").stdout)
    assert record["run"]["id"] == "mine"
    assert [turn["executions"][0]["status"] for turn in record["turns"]] == ["ok", "error", "final"]
    assert record["turns"][0]["executions"][0]["calls"] == 3
    assert record["answer"]["text"] == "the end"


def test_markup_and_escapes_of_a_model_are_only_text(shell: Shell, serve: Serve) -> None:
    serve(code(r"print('[red]x[/red] \x1b[31m')"), code("FINAL('[link=x]y[/link]')"))
    shell.here("run", "[bold]q[/bold]", "--thread", "mine")

    shown = shell.here("logs", "mine").stdout

    assert "[red]x[/red] \\x1b[31m" in shown
    assert "[link=x]y[/link]" in shown
    assert "\x1b" not in shown
    assert "[bold]q[/bold]" in shell.here("logs").stdout


def test_what_was_said_is_shown_each_question_with_its_own_answer(shell: Shell, serve: Serve) -> None:
    first = f"I look first.\n{code('seen = llm_query_batched([chr(120) * 3_000 + str(n) for n in range(7)])')}"
    serve(
        first,
        f"Now I know.\n{code('FINAL(1)')}",
        "No code here.",
        code("FINAL(2)"),
        subcall="it " + "is " * 200,
    )
    shell.here("run", "the first?", "--thread", "mine")
    shell.here("ask", "mine", "the second?")

    shown, full = shell.here("logs", "mine").stdout, shell.here("logs", "mine", "--full").stdout

    order = ["question: the first?", "said: I look first.", "asked: xxx", "said: Now I know.", "answer: 1"]
    order += ["question: the second?", "reply: No code here.", "answer: 2"]
    places = [shown.index(words) for words in order]
    assert places == sorted(places)
    assert "answered: it is is" in shown
    assert "and 2 more; --full shows them" in shown
    assert "it " + "is " * 199 not in shown
    assert "it " + "is " * 199 in full
    assert full.count("answered: ") == 7
    assert "characters more, which are not kept" in full
    record = json.loads(shell.here("logs", "mine", "--json").stdout)
    assert [(each["question"], each["answer"]) for each in record["questions"]] == [
        ("the first?", "1"),
        ("the second?", "2"),
    ]
    [call] = record["turns"][0]["calls"]
    assert len(call["replies"]) == len(call["prompts"]) == 7
    assert sum(map(len, call["prompts"])) <= 2_000


def test_a_cost_that_nobody_knows_is_null_wherever_it_is_shown_as_json(shell: Shell, serve: Serve) -> None:
    serve(code("FINAL(llm_query('p'))"))
    done = shell.here("run", "q", "--thread", "mine", "--stream", "--json", "-m", "openai/unheard-of")

    shown = [json.loads(line) for line in (*done.stderr.splitlines(), *done.stdout.splitlines())]
    shown += [json.loads(shell.here("logs", *args, "--json").stdout) for args in ((), ("mine",))]

    def costs(value: object) -> list[object]:
        if isinstance(value, dict):
            own = [value["cost_usd"]] if value.get("unpriced_calls") else []
            return own + [cost for each in value.values() for cost in costs(each)]
        return [cost for each in value for cost in costs(each)] if isinstance(value, list) else []

    assert len(costs(shown)) > 4
    assert set(costs(shown)) == {None}
