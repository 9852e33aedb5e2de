"""What a resumed run promises: the same answer, the REPL as it was, and nothing paid for twice."""

from __future__ import annotations

import os
import signal
from asyncio import to_thread
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import BaseMessage
from langgraph.checkpoint.base import id as ids
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

from rlm_graph import AgentOptions, Budget, LocalSettings, ModelError
from rlm_graph.agents.graph import RLMGraph
from rlm_graph.errors import ReplLostError
from rlm_graph.executors.local import LocalExecutor
from rlm_graph.testing import ScriptedModel
from tests.faults.processes import supervisors_of
from tests.graphs.conftest import repl

Build = Callable[..., RLMGraph]
CONFIG: Any = {"configurable": {"thread_id": "a run"}}


class Flaky:
    """A root model whose provider is down at the calls of those numbers, and then goes on with its replies."""

    def __init__(self, replies: Sequence[str], *, down_at: Sequence[int]) -> None:
        self.replies = list(replies)
        self.down_at = set(down_at)
        self.calls = 0

    def __call__(self, messages: Sequence[BaseMessage]) -> str | Exception:
        self.calls += 1
        if self.calls in self.down_at:
            return ModelError("down", retryable=False)
        return self.replies.pop(0)


def kill_workers(executor: LocalExecutor) -> None:
    """Lose every REPL of the executor, as a reboot does."""
    for supervisor in supervisors_of(executor._base().iterdir()):
        os.kill(supervisor, signal.SIGKILL)


@pytest.fixture
def executor(tmp_path: Path) -> LocalExecutor:
    return LocalExecutor(LocalSettings(idle_timeout_s=60), folder=tmp_path / "repls")


async def test_a_run_goes_on_where_the_provider_failed(agent: Build, executor: LocalExecutor) -> None:
    asked: list[str] = []

    def sub(messages: Sequence[BaseMessage]) -> str:
        asked.append(messages[-1].text)
        return messages[-1].text.upper()

    root = Flaky([repl("x = llm_query('a')"), repl("FINAL(x + llm_query('b'))")], down_at=[2])
    graph = agent(root, sub=sub, checkpointer=InMemorySaver(), executor=executor)
    with pytest.raises(ModelError, match="down"):
        await graph.ainvoke({"question": "Go."}, CONFIG)

    result = await graph.ainvoke(None, CONFIG)

    assert result["answer"].value == "AB"
    assert asked == ["a", "b"]
    assert result["usage"].subcalls == 2


@pytest.mark.parametrize("way", ["alive", "lost"])
async def test_the_repl_comes_back(agent: Build, executor: LocalExecutor, tmp_path: Path, way: str) -> None:
    asked: list[str] = []

    def sub(messages: Sequence[BaseMessage]) -> str:
        asked.append(messages[-1].text)
        return f"{messages[-1].text}{len(asked)}"

    code = """
import random
class Box:
    def __init__(self, value): self.value = value
box = Box([llm_query("a"), llm_query("a"), *llm_query_batched(["b", "c"])])
dice = [random.random() for _ in range(3)]
numbers = (n * n for n in range(10)); next(numbers); next(numbers)
print(box.value, len(context))
"""
    root = ScriptedModel(
        Flaky([repl(code), repl("box.value.append(len(contexts))"), repl("FINAL([box.value, dice, next(numbers)])")],
              down_at=[3])
    )  # fmt: skip
    async with AsyncSqliteSaver.from_conn_string(str(tmp_path / "runs.sqlite")) as saver:
        graph = agent(root, sub=sub, checkpointer=saver, executor=executor)
        with pytest.raises(ModelError, match="down"):
            await graph.ainvoke({"question": "Go.", "context": "some text"}, CONFIG)
        if way == "lost":
            kill_workers(executor)

        result = await graph.ainvoke(None, CONFIG)

    box, dice, number = result["answer"].value
    assert box == ["a1", "a2", "b3", "c4", 1]
    assert len(set(dice)) == 3
    assert number == 4
    assert sorted(asked) == ["a", "a", "b", "c"]


HOURS = 5 * 3600 * 10_000_000
"""In steps of 100 ns, as LangGraph's ids count them."""


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
async def test_a_clock_that_was_set_back_changes_nothing(
    agent: Build, executor: LocalExecutor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    asked: list[str] = []

    def sub(messages: Sequence[BaseMessage]) -> str:
        asked.append(messages[-1].text)
        return messages[-1].text.upper()

    replies = [repl("x = llm_query('a')"), repl("x += llm_query('b')"), repl("FINAL(x + llm_query('c'))"), "FINAL(x)"]
    root = Flaky(replies, down_at=[2, 4])
    place = str(tmp_path / "runs.sqlite")
    async with AsyncSqliteSaver.from_conn_string(place) as asynchronous:
        with SqliteSaver.from_conn_string(place) as synchronous:
            saver = asynchronous if way == "ainvoke" else synchronous
            graph = agent(root, sub=sub, checkpointer=saver, executor=executor)

            async def go(given: Any) -> Any:
                # Each process begins with its own clock; the first of them was five hours ahead of the others.
                monkeypatch.setattr(ids, "_last_v6_timestamp", ids.uuid6().time + HOURS if given else None)
                return await (
                    graph.ainvoke(given, CONFIG) if way == "ainvoke" else to_thread(graph.invoke, given, CONFIG)
                )

            with pytest.raises(ModelError, match="down"):
                await go({"question": "Go."})
            with pytest.raises(ModelError, match="down"):
                await go(None)
            result = await go(None)
            again = await go(None)

    assert result["answer"].value == again["answer"].value == "ABC"
    assert asked == ["a", "b", "c"]


async def test_a_rebuilt_repl_is_told_to_the_model(agent: Build, executor: LocalExecutor) -> None:
    root = ScriptedModel(Flaky([repl("x = 1"), repl("print(x)"), repl("FINAL(x)")], down_at=[2]))
    graph = agent(root, checkpointer=InMemorySaver(), executor=executor)
    with pytest.raises(ModelError):
        await graph.ainvoke({"question": "Go."}, CONFIG)
    kill_workers(executor)

    await graph.ainvoke(None, CONFIG)

    assert "variables are back" in root.calls[-1][-1].text


DIVERGING = "import os\nstamp = os.getpid()\nprint(stamp)"


async def test_a_replay_that_differs_is_told_to_the_model(agent: Build, executor: LocalExecutor) -> None:
    root = ScriptedModel(Flaky([repl(DIVERGING), repl("1"), repl("FINAL('done')")], down_at=[2]))
    graph = agent(root, checkpointer=InMemorySaver(), executor=executor)
    with pytest.raises(ModelError):
        await graph.ainvoke({"question": "Go."}, CONFIG)
    kill_workers(executor)

    await graph.ainvoke(None, CONFIG)

    assert "another outcome than before in cell 1" in root.calls[-1][-1].text


async def test_a_strict_replay_that_differs_fails_and_loses_nothing(agent: Build, executor: LocalExecutor) -> None:
    saver = InMemorySaver()
    root = ScriptedModel(Flaky([repl(DIVERGING), repl("FINAL('done')")], down_at=[2]))
    graph = agent(root, checkpointer=saver, executor=executor, options=AgentOptions(strict_replay=True))
    with pytest.raises(ModelError):
        await graph.ainvoke({"question": "Go."}, CONFIG)
    kill_workers(executor)

    with pytest.raises(ReplLostError, match="cell 1"):
        await graph.ainvoke(None, CONFIG)

    lenient = agent(ScriptedModel([]), checkpointer=saver, executor=executor)
    assert (await lenient.ainvoke(None, CONFIG))["answer"].value == "done"


async def test_a_cell_that_kills_its_repl_costs_only_itself(agent: Build, executor: LocalExecutor) -> None:
    root = ScriptedModel([repl("x = llm_query('a')"), repl("import os\nos._exit(1)"), repl("FINAL(x)")])
    asked = ScriptedModel(["A"], model="sub")

    result = await agent(root, checkpointer=InMemorySaver(), executor=executor, sub=asked.replies).ainvoke(
        {"question": "Go."}, CONFIG
    )

    assert result["answer"].value == "A"
    assert result["usage"].subcalls == 1


async def test_a_repl_is_gone_when_the_run_has_ended(agent: Build, executor: LocalExecutor) -> None:
    graph = agent([repl("x = 1"), repl("FINAL(x)")], checkpointer=InMemorySaver(), executor=executor)

    await graph.ainvoke({"question": "Go."}, CONFIG)

    assert list(executor._base().iterdir()) == []


async def test_a_run_that_met_a_ceiling_goes_on_with_a_larger_one(agent: Build, executor: LocalExecutor) -> None:
    root = ScriptedModel(Flaky([repl("x = 1"), repl("x += 1"), repl("FINAL(x)")], down_at=[2]))
    graph = agent(root, checkpointer=InMemorySaver(), executor=executor, budget=Budget(max_turns=2))
    with pytest.raises(ModelError):
        await graph.ainvoke({"question": "Go."}, CONFIG)
    await graph.aupdate_state(CONFIG, {"budget": Budget(max_turns=5)})

    result = await graph.ainvoke(None, CONFIG)

    assert result["answer"].value == 2
    assert result["answer"].complete
