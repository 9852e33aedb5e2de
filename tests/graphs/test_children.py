"""Approval, forks and crashes hold over recursive children too, wherever their code runs."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import BaseMessage
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.types import Command

from rlm_graph.agents.graph import RLMGraph
from rlm_graph.settings import DockerSettings, ExecutorSettings, LocalSettings
from rlm_graph.storage.copying import fork
from rlm_graph.testing import ScriptedModel
from tests.graphs.conftest import repl

Build = Callable[..., RLMGraph]
CONFIG: Any = {"configurable": {"thread_id": "t"}}

pytestmark = pytest.mark.parametrize("place", ["local", pytest.param("docker", marks=pytest.mark.docker)])


@pytest.fixture
def executor(place: str, request: pytest.FixtureRequest) -> ExecutorSettings:
    if place == "local":
        return LocalSettings()
    return DockerSettings(image=request.getfixturevalue("docker_image"), pull=False)


class Family:
    """A root whose code asks a child, whose code asks a sub-model. `asked` is what the sub-model was asked."""

    def __init__(self, *, child: Sequence[str | Exception], root: Sequence[str]) -> None:
        self.child, self.root = list(child), list(root)
        self.asked: list[str] = []

    def __call__(self, messages: Sequence[BaseMessage]) -> str | Exception:
        if messages[0].type != "system":
            self.asked.append(messages[-1].text)
            return messages[-1].text.upper()
        is_child = any("the child's question" in message.text for message in messages if message.type == "human")
        return (self.child if is_child else self.root).pop(0)


ASK_CHILD = repl("x = rlm_query(\"the child's question\", context='of the child')")


async def test_what_a_child_asks_waits_for_approval_and_another_process_may_go_on(
    agent: Build, executor: ExecutorSettings, tmp_path: Path
) -> None:
    family = Family(
        root=[ASK_CHILD, repl("FINAL(['root', x])")], child=[repl("y = llm_query(context)"), repl("FINAL(y)")]
    )
    parts = {"interrupt_on": "subcalls", "executor": executor}
    async with AsyncSqliteSaver.from_conn_string(str(tmp_path / "runs.sqlite")) as saver:
        first = await agent(ScriptedModel(family), checkpointer=saver, **parts).ainvoke({"question": "Go."}, CONFIG)
        again = agent(ScriptedModel(family), checkpointer=saver, **parts)
        second = await again.ainvoke(Command(resume=True), CONFIG)
        asked_before = list(family.asked)
        result = await agent(ScriptedModel(family), checkpointer=saver, **parts).ainvoke(Command(resume=True), CONFIG)

    assert [waiting.value["function"] for waiting in first["__interrupt__"]] == ["rlm_query"]
    assert [waiting.value["preview"] for waiting in second["__interrupt__"]] == ["of the child"]
    assert asked_before == []
    assert result["answer"].value == ["root", "OF THE CHILD"]
    assert family.asked == ["of the child"]


async def test_a_rejected_call_of_a_child_is_an_error_in_the_childs_code(
    agent: Build, executor: ExecutorSettings, tmp_path: Path
) -> None:
    careful = "try:\n    y = llm_query(context)\nexcept SubcallError as error:\n    FINAL(str(error))"
    family = Family(root=[ASK_CHILD, repl("FINAL(x)")], child=[repl(careful)])
    async with AsyncSqliteSaver.from_conn_string(str(tmp_path / "runs.sqlite")) as saver:
        graph = agent(ScriptedModel(family), checkpointer=saver, interrupt_on="subcalls", executor=executor)
        await graph.ainvoke({"question": "Go."}, CONFIG)
        await graph.ainvoke(Command(resume=True), CONFIG)
        result = await graph.ainvoke(Command(resume={"approve": False, "reason": "not today"}), CONFIG)

    assert "not today" in result["answer"].value
    assert family.asked == []


async def test_code_of_a_child_waits_is_edited_and_runs_in_the_childs_repl(
    agent: Build, executor: ExecutorSettings, tmp_path: Path
) -> None:
    family = Family(root=[ASK_CHILD, repl("FINAL(x)")], child=[repl("y = len(context)"), repl("FINAL('theirs')")])
    async with AsyncSqliteSaver.from_conn_string(str(tmp_path / "runs.sqlite")) as saver:
        graph = agent(ScriptedModel(family), checkpointer=saver, interrupt_on="code", executor=executor)
        paused = [await graph.ainvoke({"question": "Go."}, CONFIG)]
        for decision in (True, True, {"edit": "FINAL(['mine', y, 'x' in globals()])"}):
            graph = agent(ScriptedModel(family), checkpointer=saver, interrupt_on="code", executor=executor)
            paused.append(await graph.ainvoke(Command(resume=decision), CONFIG))
        result = await graph.ainvoke(Command(resume=True), CONFIG)

    shown = [interrupt.value["cells"][0] for pause in paused for interrupt in pause["__interrupt__"]]
    assert [cell.partition("(")[0] for cell in shown] == ["x = rlm_query", "y = len", "FINAL", "FINAL"]
    assert json.loads(result["answer"].value) == ["mine", 12, False]


async def test_what_children_of_a_batch_ask_waits_together_and_each_gets_its_own_decision(
    agent: Build, executor: ExecutorSettings, tmp_path: Path
) -> None:
    ask = "try:\n    y = llm_query(context)\nexcept SubcallError as error:\n    y = str(error)\nFINAL(y)"
    both = "FINAL(rlm_query_batched([\"the child's question\"] * 2, contexts=['one', 'two']))"
    family = Family(root=[repl(both)], child=[repl(ask), repl(ask)])
    async with AsyncSqliteSaver.from_conn_string(str(tmp_path / "runs.sqlite")) as saver:
        graph = agent(ScriptedModel(family), checkpointer=saver, interrupt_on="subcalls", executor=executor)
        result = await graph.ainvoke({"question": "Go."}, CONFIG)
        seen: list[str] = []
        while waiting := result.get("__interrupt__"):
            seen += [interrupt.value["preview"] for interrupt in waiting]
            decisions = {each.id: {"reject": "no"} if each.value["preview"] == "two" else True for each in waiting}
            graph = agent(ScriptedModel(family), checkpointer=saver, interrupt_on="subcalls", executor=executor)
            result = await graph.ainvoke(Command(resume=decisions), CONFIG)

    first, second = result["answer"].value
    assert first == "ONE"
    assert "rejected this call: no" in second
    assert {"one", "two"} <= set(seen)
    assert family.asked == ["one"]


async def test_a_fork_after_a_child_has_its_answer_and_asks_it_nothing(
    agent: Build, executor: ExecutorSettings, tmp_path: Path
) -> None:
    family = Family(
        root=[ASK_CHILD, repl("z = 1"), repl("FINAL(x)"), repl("FINAL([x, 'another way'])")],
        child=[repl("y = llm_query(context)"), repl("FINAL(y)")],
    )
    other: Any = {"configurable": {"thread_id": "fork"}}
    async with AsyncSqliteSaver.from_conn_string(str(tmp_path / "runs.sqlite")) as saver:
        graph = agent(ScriptedModel(family), checkpointer=saver, executor=executor)
        original = await graph.ainvoke({"question": "Go."}, CONFIG)
        [at, *_] = [
            snapshot.config["configurable"]["checkpoint_id"]
            async for snapshot in graph.aget_state_history(CONFIG)
            if len(snapshot.values.get("turns", [])) == 1 and snapshot.next == ("observe",)
        ]
        await fork(saver, "t", "fork", checkpoint_id=at)

        forked = await graph.ainvoke(None, other)

    assert original["answer"].value == "OF THE CHILD"
    assert forked["answer"].value == ["OF THE CHILD", "another way"]
    assert family.asked == ["of the child"]


async def test_time_travel_to_before_a_child_asks_another_one_and_keeps_the_repl_of_that_step(
    agent: Build, executor: ExecutorSettings, tmp_path: Path
) -> None:
    end = repl("FINAL([*before, x])")
    family = Family(
        root=[repl("before = ['kept']"), ASK_CHILD, end, ASK_CHILD, end],
        child=[repl("FINAL(llm_query('first'))"), repl("FINAL(llm_query('other'))")],
    )
    async with AsyncSqliteSaver.from_conn_string(str(tmp_path / "runs.sqlite")) as saver:
        graph = agent(ScriptedModel(family), checkpointer=saver, executor=executor)
        original = await graph.ainvoke({"question": "Go."}, CONFIG)
        [at, *_] = [
            snapshot.config
            async for snapshot in graph.aget_state_history(CONFIG)
            if len(snapshot.values.get("turns", [])) == 1 and snapshot.next == ("observe",)
        ]

        again = await graph.ainvoke(None, at)

    assert original["answer"].value == ["kept", "FIRST"]
    assert again["answer"].value == ["kept", "OTHER"]
    assert family.asked == ["first", "other"]


async def test_a_child_whose_host_died_goes_on_and_nothing_is_asked_again(
    agent: Build, executor: ExecutorSettings, tmp_path: Path
) -> None:
    family = Family(
        root=[repl("w = llm_query('before')"), ASK_CHILD, repl("FINAL([w, x])")],
        child=[repl("y = llm_query(context)"), ZeroDivisionError("the host dies"), repl("FINAL(y)")],
    )
    async with AsyncSqliteSaver.from_conn_string(str(tmp_path / "runs.sqlite")) as saver:
        with pytest.raises(ZeroDivisionError):
            await agent(ScriptedModel(family), checkpointer=saver, executor=executor).ainvoke(
                {"question": "Go."}, CONFIG
            )
        result = await agent(ScriptedModel(family), checkpointer=saver, executor=executor).ainvoke(None, CONFIG)

    assert result["answer"].value == ["BEFORE", "OF THE CHILD"]
    assert family.asked == ["before", "of the child"]
    assert result["usage"].subcalls == 3
