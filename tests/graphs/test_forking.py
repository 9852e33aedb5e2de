"""A fork begins where another run stood, and leaves that run as it was."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import BaseMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

from rlm_graph.agents.graph import RLMGraph
from rlm_graph.errors import ModelError, RunNotFoundError
from rlm_graph.storage.copying import fork
from rlm_graph.testing import ScriptedModel
from tests.graphs.conftest import repl

Build = Callable[..., RLMGraph]
SOURCE: Any = {"configurable": {"thread_id": "source"}}
FORK: Any = {"configurable": {"thread_id": "fork"}}


@pytest.fixture(params=["memory", "sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
async def saver(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Any]:
    if request.param == "memory":
        yield InMemorySaver()
    elif request.param == "sqlite":
        async with AsyncSqliteSaver.from_conn_string(str(tmp_path / "runs.sqlite")) as opened:
            yield opened
    else:
        from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver

        async with AsyncPostgresSaver.from_conn_string(request.getfixturevalue("postgres")) as postgres:
            await postgres.setup()
            yield postgres


async def after_turn(graph: RLMGraph, config: Any, turn: int) -> str:
    """Return the checkpoint in which that turn's act had just been recorded."""
    found = [
        snapshot.config["configurable"]["checkpoint_id"]
        async for snapshot in graph.aget_state_history(config)
        if len(snapshot.values.get("turns", [])) == turn
    ]
    return str(found[-1])


async def test_a_fork_has_the_repl_as_it_was_at_that_step_and_asks_nothing_again(agent: Build, saver: Any) -> None:
    asked: list[str] = []

    def sub(messages: Any) -> str:
        asked.append(messages[-1].text)
        return messages[-1].text.upper()

    replies = [repl("x = [llm_query('a')]"), repl("x.append(llm_query('b'))"), repl("FINAL(x)")]
    graph = agent(replies, sub=sub, checkpointer=saver)
    original = await graph.ainvoke({"question": "Go."}, SOURCE)
    await fork(saver, "source", "fork", checkpoint_id=await after_turn(graph, SOURCE, 1))

    other = agent([repl("x.append('another way')\nFINAL(x)")], sub=sub, checkpointer=saver)
    forked = await other.ainvoke(None, FORK)

    assert original["answer"].value == ["A", "B"]
    assert forked["answer"].value == ["A", "another way"]
    assert asked == ["a", "b"]
    assert (await graph.aget_state(SOURCE)).values["answer"].value == ["A", "B"]


async def test_a_fork_can_ask_another_question(agent: Build, saver: Any) -> None:
    graph = agent([repl("x = len(context)"), repl("FINAL(x)")], checkpointer=saver)
    await graph.ainvoke({"question": "How long?", "context": "four"}, SOURCE)
    await fork(saver, "source", "fork")

    model = ScriptedModel([repl("FINAL(x * 10)")])
    result = await agent(model, checkpointer=saver).ainvoke({"question": "And ten of them?"}, FORK)

    assert result["answer"].value == 40
    assert [message.text for message in result["messages"]] == ["How long?", "4", "And ten of them?", "40"]


async def test_time_travel_within_a_run_has_the_repl_of_that_step(agent: Build, saver: Any) -> None:
    graph = agent([repl("x = ['one']"), repl("x.append('two')"), repl("FINAL(x)")], checkpointer=saver)
    await graph.ainvoke({"question": "Go."}, SOURCE)
    back = {"configurable": {"thread_id": "source", "checkpoint_id": await after_turn(graph, SOURCE, 1)}}

    again = agent([repl("x.append('another')\nFINAL(x)")], checkpointer=saver)

    assert (await again.ainvoke(None, back))["answer"].value == ["one", "another"]


async def test_time_travel_asks_nothing_again_that_was_asked_before_that_step(agent: Build, saver: Any) -> None:
    asked: list[str] = []

    def sub(messages: Sequence[BaseMessage]) -> str:
        asked.append(messages[-1].text)
        return f"{messages[-1].text}!"

    graph = agent([repl("x = llm_query_batched(['a', 'b'])"), repl("FINAL(x)")], sub=sub, checkpointer=saver)
    await graph.ainvoke({"question": "Go."}, SOURCE)
    back = {"configurable": {"thread_id": "source", "checkpoint_id": await after_turn(graph, SOURCE, 1)}}

    again = agent([repl("FINAL([*x, llm_query('c')])")], sub=sub, checkpointer=saver)

    assert (await again.ainvoke(None, back))["answer"].value == ["a!", "b!", "c!"]
    assert sorted(asked) == ["a", "b", "c"]


async def test_a_run_that_is_not_there_cannot_be_forked(saver: Any) -> None:
    with pytest.raises(RunNotFoundError, match="no such checkpoint"):
        await fork(saver, "nothing", "fork")


async def test_the_same_code_on_another_branch_gets_its_own_answers(agent: Build, saver: Any) -> None:
    code = repl("x = llm_query('roll a die')")
    down = ModelError("down", retryable=False)
    graph = agent([code, down], sub=["first"], checkpointer=saver)
    with pytest.raises(ModelError):
        await graph.ainvoke({"question": "Go."}, SOURCE)
    start = [
        snapshot.config["configurable"]["checkpoint_id"]
        async for snapshot in graph.aget_state_history(SOURCE)
        if snapshot.next == ("think",)
    ][-1]

    again = agent([code, repl("FINAL(x)")], sub=["second"], checkpointer=saver)
    result = await again.ainvoke(None, {"configurable": {"thread_id": "source", "checkpoint_id": start}})

    assert result["answer"].value == "second"


async def test_a_step_back_does_not_use_the_repl_that_went_on(agent: Build, saver: Any) -> None:
    ways = [repl("x = ['one']"), repl("x.append('two')"), ModelError("down", retryable=False)]
    graph = agent(ways, checkpointer=saver)
    with pytest.raises(ModelError):  # so its REPL lives on, two cells ahead
        await graph.ainvoke({"question": "Go."}, SOURCE)
    back = {"configurable": {"thread_id": "source", "checkpoint_id": await after_turn(graph, SOURCE, 1)}}

    again = agent([repl("x.append('another')\nFINAL(x)")], checkpointer=saver)

    assert (await again.ainvoke(None, back))["answer"].value == ["one", "another"]


async def test_a_fork_does_not_know_the_repl_of_its_source(agent: Build, saver: Any) -> None:
    ways = [repl("x = ['one']"), ModelError("down", retryable=False)]
    graph = agent(ways, checkpointer=saver)
    with pytest.raises(ModelError):
        await graph.ainvoke({"question": "Go."}, SOURCE)
    kept = (await graph.aget_state(SOURCE)).values["repl"]
    await fork(saver, "source", "fork")
    copied = (await graph.aget_state(FORK)).values.get("repl")

    other = agent([repl("x.append('fork')"), ModelError("down", retryable=False)], checkpointer=saver)
    with pytest.raises(ModelError):
        await other.ainvoke(None, FORK)
    own = (await graph.aget_state(FORK)).values["repl"]
    result = await agent([repl("FINAL(x)")], checkpointer=saver).ainvoke(None, SOURCE)

    assert copied is None
    assert own.id != kept.id
    assert result["answer"].value == ["one"]
