"""A human may look before code runs and before calls are made; the process may end in between."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.types import Command

from rlm_graph import AgentOptions, InputError, LocalSettings
from rlm_graph.agents.graph import RLMGraph
from rlm_graph.approval import ApprovalRequest, Decision
from rlm_graph.executors.local import LocalExecutor
from rlm_graph.testing import ScriptedModel
from tests.graphs.conftest import repl
from tests.graphs.test_resume import kill_workers

Build = Callable[..., RLMGraph]
CONFIG: Any = {"configurable": {"thread_id": "a run"}}


def waiting(result: dict[str, Any]) -> list[Any]:
    return [interrupt.value for interrupt in result.get("__interrupt__", ())]


async def test_code_waits_and_runs_when_it_is_approved(agent: Build) -> None:
    graph = agent([repl("FINAL(6 * 7)")], interrupt_on="code", checkpointer=InMemorySaver())

    paused = await graph.ainvoke({"question": "Go."}, CONFIG)
    assert waiting(paused) == [ApprovalRequest(kind="code", cells=("FINAL(6 * 7)",)).model_dump(mode="json")]
    result = await graph.ainvoke(Command(resume=True), CONFIG)

    assert result["answer"].value == 42


async def test_rejected_code_does_not_run_and_the_model_reads_why(agent: Build) -> None:
    model = ScriptedModel([repl("FINAL('bad')"), repl("FINAL('good')")])
    graph = agent(model, interrupt_on="code", checkpointer=InMemorySaver())
    await graph.ainvoke({"question": "Go."}, CONFIG)

    paused = await graph.ainvoke(Command(resume={"reject": "too dear"}), CONFIG)
    assert waiting(paused)[0]["cells"] == ["FINAL('good')"]
    result = await graph.ainvoke(Command(resume="approve"), CONFIG)

    assert "too dear" in model.calls[1][-1].text
    assert result["answer"].value == "good"


async def test_edited_code_runs_in_the_place_of_what_was_shown(agent: Build) -> None:
    graph = agent([repl("FINAL('theirs')")], interrupt_on="code", checkpointer=InMemorySaver())
    await graph.ainvoke({"question": "Go."}, CONFIG)

    result = await graph.ainvoke(Command(resume={"edit": "FINAL('mine')"}), CONFIG)

    assert result["answer"].value == "mine"


async def test_a_sub_call_waits_inside_its_child_while_the_repl_holds_the_cell(agent: Build, tmp_path: Path) -> None:
    asked: list[str] = []

    def sub(messages: Any) -> str:
        asked.append(messages[-1].text)
        return messages[-1].text.upper()

    code = "before = len(context)\nanswer = llm_query('a secret')\nFINAL([before, answer])"
    async with AsyncSqliteSaver.from_conn_string(str(tmp_path / "runs.sqlite")) as saver:
        paused = await agent([repl(code)], sub=sub, interrupt_on="subcalls", checkpointer=saver).ainvoke(
            {"question": "Go.", "context": "text"}, CONFIG
        )
        assert [request["preview"] for request in waiting(paused)] == ["a secret"]
        assert asked == []

        another = agent([], sub=sub, interrupt_on="subcalls", checkpointer=saver)
        result = await another.ainvoke(Command(resume=True), CONFIG)

    assert result["answer"].value == [4, "A SECRET"]
    assert asked == ["a secret"]


async def test_calls_from_threads_wait_together_and_each_gets_its_own_decision(agent: Build) -> None:
    code = """
from concurrent.futures import ThreadPoolExecutor
def ask(prompt):
    try:
        return llm_query(prompt)
    except SubcallError as error:
        return str(error)
with ThreadPoolExecutor(4) as pool:
    FINAL(list(pool.map(ask, ["a", "b", "c"])))
"""
    asked: list[str] = []

    def sub(messages: Any) -> str:
        asked.append(messages[-1].text)
        return messages[-1].text.upper()

    graph = agent([repl(code)], sub=sub, interrupt_on="subcalls", checkpointer=InMemorySaver())
    result = await graph.ainvoke({"question": "Go."}, CONFIG)
    while "__interrupt__" in result:
        decisions = {
            interrupt.id: {"reject": "no"} if interrupt.value["preview"] == "b" else True
            for interrupt in result["__interrupt__"]
        }
        result = await graph.ainvoke(Command(resume=decisions), CONFIG)

    first, second, third = result["answer"].value
    assert (first, third) == ("A", "C")
    assert "rejected this call: no" in second
    assert sorted(asked) == ["a", "c"]


async def test_each_prompt_of_a_batch_is_decided_on_its_own(agent: Build) -> None:
    asked: list[str] = []

    def sub(messages: Any) -> str:
        asked.append(messages[-1].text)
        return messages[-1].text.upper()

    code = "FINAL([str(answer) for answer in llm_query_batched(['a', 'b'], return_exceptions=True)])"
    graph = agent([repl(code)], sub=sub, interrupt_on="subcalls", checkpointer=InMemorySaver())
    paused = await graph.ainvoke({"question": "Go."}, CONFIG)
    assert sorted(request["preview"] for request in waiting(paused)) == ["a", "b"]

    decisions = {interrupt.id: interrupt.value["preview"] == "a" for interrupt in paused["__interrupt__"]}
    result = await graph.ainvoke(Command(resume=decisions), CONFIG)

    assert result["answer"].value[0] == "A"
    assert "rejected" in result["answer"].value[1]
    assert asked == ["a"]


CALLS = {
    "threads": """
from concurrent.futures import ThreadPoolExecutor
with ThreadPoolExecutor(4) as pool:
    FINAL(list(pool.map(llm_query, ["a", "b", "c"])))
""",
    "a batch": "FINAL(llm_query_batched(['a', 'b', 'c']))",
}


@pytest.mark.confinement
@pytest.mark.parametrize("way", ["by its id", "plainly", "plainly, under invoke"])
@pytest.mark.parametrize("lost", [False, True], ids=["the REPL lives", "the REPL is lost"])
@pytest.mark.parametrize("code", CALLS.values(), ids=CALLS)
async def test_calls_that_wait_together_are_answered_one_at_a_time_by_processes_that_come_and_go(
    agent: Build, tmp_path: Path, code: str, lost: bool, way: str
) -> None:
    executor = LocalExecutor(LocalSettings(idle_timeout_s=60), folder=tmp_path / "repls")
    database = str(tmp_path / "runs.sqlite")
    asked: list[str] = []
    answered: list[str] = []

    def sub(messages: Any) -> str:
        asked.append(messages[-1].text)
        return messages[-1].text.upper()

    async def go_on(given: Any, replies: list[str]) -> dict[str, Any]:
        """As a process of its own does: it opens the database, builds the graph, and keeps neither."""
        parts = {"sub": sub, "interrupt_on": "subcalls", "executor": executor}
        if way == "plainly, under invoke":
            with SqliteSaver.from_conn_string(database) as saver:
                result: dict[str, Any] = await asyncio.to_thread(
                    agent(replies, checkpointer=saver, **parts).invoke, given, CONFIG
                )
                return result
        async with AsyncSqliteSaver.from_conn_string(database) as saver:
            return await agent(replies, checkpointer=saver, **parts).ainvoke(given, CONFIG)

    result = await go_on({"question": "Go."}, [repl(code)])
    while waits := result.get("__interrupt__", ()):
        assert {waiting.value["preview"] for waiting in waits}.isdisjoint(answered)
        assert sorted(asked) == sorted(answered)
        if lost:
            kill_workers(executor)
        chosen = waits[-1] if way == "by its id" else waits[0]
        answered.append(chosen.value["preview"])
        result = await go_on(Command(resume={chosen.id: True} if way == "by its id" else True), [])
    kill_workers(executor)

    assert result["answer"].value == ["A", "B", "C"]
    assert sorted(asked) == ["a", "b", "c"]


async def test_a_function_decides_and_asks_a_human_only_where_it_returns_none(agent: Build) -> None:
    def careful(request: ApprovalRequest) -> bool | None:
        return None if any("open(" in cell for cell in request.cells) else True

    graph = agent(
        [repl("x = 1"), repl("open('x')"), repl("FINAL(x)")], interrupt_on=careful, checkpointer=InMemorySaver()
    )

    paused = await graph.ainvoke({"question": "Go."}, CONFIG)
    assert waiting(paused)[0]["cells"] == ["open('x')"]
    result = await graph.ainvoke(Command(resume=False), CONFIG)

    assert result["answer"].value == 1


async def test_a_run_pauses_before_a_node_on_request(agent: Build) -> None:
    graph = agent([repl("FINAL(1)")], options=AgentOptions(interrupt_before=["act"]), checkpointer=InMemorySaver())

    await graph.ainvoke({"question": "Go."}, CONFIG)
    state = await graph.aget_state(CONFIG)
    assert state.next == ("act",)
    assert state.values["cells"][0].code == "FINAL(1)"

    assert (await graph.ainvoke(None, CONFIG))["answer"].value == 1


def test_the_synchronous_way_pauses_too(agent: Build) -> None:
    graph = agent([repl("FINAL(llm_query('a'))")], sub=["A"], interrupt_on="subcalls", checkpointer=InMemorySaver())

    paused = graph.invoke({"question": "Go."}, CONFIG)
    assert waiting(paused)[0]["preview"] == "a"

    assert graph.invoke(Command(resume=True), CONFIG)["answer"].value == "A"


async def test_what_is_no_decision_is_refused_and_the_run_still_waits(agent: Build) -> None:
    graph = agent([repl("FINAL(1)")], interrupt_on="code", checkpointer=InMemorySaver())
    await graph.ainvoke({"question": "Go."}, CONFIG)

    with pytest.raises(InputError, match="no decision"):
        await graph.ainvoke(Command(resume={"maybe": 1}), CONFIG)


@pytest.mark.parametrize(
    ("given", "decision"),
    [
        (True, Decision()),
        ("reject", Decision(approve=False)),
        ({"reject": "why"}, Decision(approve=False, reason="why")),
        ({"edit": "x = 1"}, Decision(edit=("x = 1",))),
        (Decision(approve=False), Decision(approve=False)),
    ],
)
def test_the_short_forms_of_a_decision(given: Any, decision: Decision) -> None:
    assert Decision.of(given) == decision
