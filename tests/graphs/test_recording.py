"""A run whose record would be of no use is refused before anything is paid, or said to be one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph

from rlm_graph.agents.graph import RLMGraph
from rlm_graph.errors import SetupError
from rlm_graph.testing import ScriptedModel
from tests.graphs.conftest import repl

Build = Callable[..., RLMGraph]
CONFIG: Any = {"configurable": {"thread_id": "a run"}}
QUESTION = {"question": "Go."}


@pytest.mark.parametrize("options", [{"durability": "exit"}, {"checkpoint_during": False}], ids=str)
@pytest.mark.parametrize("way", ["invoke", "ainvoke", "stream"])
async def test_a_run_that_would_be_recorded_at_its_end_alone_is_refused(
    agent: Build, way: str, options: dict[str, Any]
) -> None:
    model = ScriptedModel([repl("FINAL(1)")])
    graph = agent(model, checkpointer=InMemorySaver())

    async def run() -> None:
        match way:
            case "invoke":
                graph.invoke(QUESTION, CONFIG, **options)
            case "ainvoke":
                await graph.ainvoke(QUESTION, CONFIG, **options)
            case "stream":
                list(graph.stream(QUESTION, CONFIG, **options))

    with pytest.raises(SetupError, match="it would ask again, and pay for, all that was answered"):
        await run()

    assert model.calls == []


@pytest.mark.parametrize("durability", ["sync", "async"])
def test_what_records_each_step_is_taken(agent: Build, durability: Any) -> None:
    graph = agent([repl("FINAL(1)")], checkpointer=InMemorySaver())

    assert graph.invoke(QUESTION, CONFIG, durability=durability)["answer"].value == 1


def test_without_a_checkpointer_nothing_is_recorded_anyway(agent: Build) -> None:
    result = agent([repl("FINAL(1)")]).invoke(QUESTION, durability="exit")

    assert result["answer"].value == 1


def test_a_larger_graph_that_records_at_its_end_alone_is_warned_of(agent: Build) -> None:
    inner = agent([repl("FINAL(1)"), repl("FINAL(2)")])
    outer = StateGraph(MessagesState).add_node("rlm", inner).add_edge(START, "rlm")
    graph: Any = outer.compile(checkpointer=InMemorySaver())
    asked = {"messages": [("user", "Go.")]}

    with pytest.warns(RuntimeWarning, match="the graph around the agent runs with durability='exit'"):
        first = graph.invoke(asked, CONFIG, durability="exit")
    second = graph.invoke(asked, {"configurable": {"thread_id": "another"}})

    assert [first["messages"][-1].text, second["messages"][-1].text] == ["1", "2"]


@pytest.mark.postgres
@pytest.mark.filterwarnings("ignore:.*Shallow.*:DeprecationWarning")
def test_a_saver_that_keeps_the_last_checkpoint_alone_is_refused(agent: Build, postgres: str) -> None:
    from langgraph.checkpoint.postgres.shallow import ShallowPostgresSaver

    with ShallowPostgresSaver.from_conn_string(postgres) as saver:
        with pytest.raises(SetupError, match=r"ShallowPostgresSaver keeps .* Give PostgresSaver"):
            agent([repl("FINAL(1)")], checkpointer=saver)
        outer = StateGraph(MessagesState).add_node("rlm", agent([repl("FINAL(1)")])).add_edge(START, "rlm")
        saver.setup()
        with pytest.raises(SetupError, match="ShallowPostgresSaver keeps"):
            outer.compile(checkpointer=saver).invoke({"messages": [("user", "Go.")]}, CONFIG)  # type: ignore[call-overload]
