"""However an agent is called, it runs to the end of its budget, shows no context, and gives its answer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.runnables import RunnableLambda, RunnableParallel
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from pydantic import BaseModel

from rlm_graph import Answer, Budget, Usage
from rlm_graph.agents.graph import RLMGraph
from tests.graphs.conftest import repl

Build = Callable[..., RLMGraph]
GIVEN: dict[str, Any] = {"question": "Go on.", "context": "text"}
CONFIG: Any = {"configurable": {"thread_id": "a run"}}
NEEDLE = "needle-51c7"


def nine_turns(messages: Sequence[BaseMessage]) -> str:
    """Think for nine turns, which are 27 steps, and answer."""
    turn = sum(isinstance(message, AIMessage) for message in messages)
    return repl(f"print({turn})") if turn < 8 else repl("FINAL('nine turns')")


async def last_of(parts: Any) -> Any:
    """Return the last part of a stream."""
    last = None
    async for part in parts:
        last = part
    return last


WAYS: dict[str, Callable[[RLMGraph], Any]] = {
    "invoke": lambda agent: agent.invoke(GIVEN),
    "batch": lambda agent: agent.batch([GIVEN])[0],
    "pipe": lambda agent: (RunnableLambda(lambda _: GIVEN) | agent).invoke("q"),
    "parallel": lambda agent: RunnableParallel(one=agent).invoke(GIVEN)["one"],
    "retry": lambda agent: agent.with_retry().invoke(GIVEN),
    "config": lambda agent: agent.with_config(recursion_limit=3).invoke(GIVEN),
    "limit": lambda agent: agent.invoke(GIVEN, {"recursion_limit": 25}),
    "stream": lambda agent: list(agent.stream(GIVEN, {"recursion_limit": 25}, stream_mode="values"))[-1],
}


@pytest.mark.parametrize("way", WAYS)
def test_the_number_of_steps_ends_no_run(agent: Build, way: str) -> None:
    assert WAYS[way](agent(nine_turns))["answer"].value == "nine turns"


AWAYS: dict[str, Callable[[RLMGraph], Any]] = {
    "abatch": lambda agent: agent.abatch([GIVEN]),
    "apipe": lambda agent: (RunnableLambda(lambda _: GIVEN) | agent).ainvoke("q"),
    "astream": lambda agent: last_of(agent.astream(GIVEN, {"recursion_limit": 5}, stream_mode="values")),
    "astream_events": lambda agent: last_of(agent.astream_events(GIVEN)),
}


@pytest.mark.parametrize("way", AWAYS)
async def test_the_number_of_steps_ends_no_asynchronous_run(agent: Build, way: str) -> None:
    result = await AWAYS[way](agent(nine_turns))
    result = result[0] if isinstance(result, list) else result
    result = result["data"]["output"] if "data" in result else result

    assert result["answer"].value == "nine turns"


def test_the_limit_of_a_larger_graph_does_not_end_the_run_of_its_node(agent: Build) -> None:
    larger = StateGraph(MessagesState)
    larger.add_node("rlm", agent(nine_turns))
    larger.add_edge(START, "rlm")

    result = larger.compile().invoke({"messages": [HumanMessage("Go on.")]}, {"recursion_limit": 25})

    assert result["messages"][-1].text == "nine turns"


async def test_no_event_of_a_run_shows_the_context(agent: Build) -> None:
    given = {"question": "Go on.", "context": f"{NEEDLE} and more"}
    code = [repl("FINAL(len(context))")]

    events = [event async for event in agent(code).astream_events(given)]

    assert events[0]["event"] == "on_chain_start"
    assert "Go on." in repr(events[0])
    assert NEEDLE not in repr(events)
    assert events[-1]["data"]["output"]["answer"].value == len(given["context"])


async def test_the_tool_of_an_agent_returns_its_answer_and_nothing_else(agent: Build) -> None:
    tool = agent(lambda _: repl("FINAL(f'{len(context)} characters')"), checkpointer=InMemorySaver()).as_tool(
        name="ask"
    )

    assert set(tool.args) == {"question", "context"}
    assert tool.invoke({"question": "How long is it?", "context": "four"}) == "4 characters"
    assert await tool.ainvoke({"question": "How long is it?", "context": "twelve chars"}) == "12 characters"


@pytest.mark.parametrize("checkpointer", [None, InMemorySaver()])
async def test_a_step_may_ask_an_agent_several_questions_at_once(agent: Build, checkpointer: Any) -> None:
    tool = agent(lambda _: repl("FINAL(context.upper())")).as_tool(name="ask")
    larger = StateGraph(MessagesState)
    larger.add_node("tools", ToolNode([tool]))
    larger.add_edge(START, "tools")
    graph = larger.compile(checkpointer=checkpointer)
    calls: Any = [
        {"name": "ask", "args": {"question": "Which?", "context": text}, "id": text} for text in ("one", "two", "three")
    ]
    given: Any = {"messages": [AIMessage("", tool_calls=calls)]}

    sync = await asyncio.to_thread(graph.invoke, given, {"configurable": {"thread_id": "sync"}})
    result = await graph.ainvoke(given, {"configurable": {"thread_id": "async"}})

    for each in (sync, result):
        assert [message.text for message in each["messages"][1:]] == ["ONE", "TWO", "THREE"]


class Capital(BaseModel):
    """A typed answer."""

    city: str


def test_nothing_is_said_of_unregistered_types_at_a_second_question(
    agent: Build, caplog: pytest.LogCaptureFixture
) -> None:
    saver = InMemorySaver(serde=JsonPlusSerializer(allowed_msgpack_modules=True))
    graph = agent([repl("FINAL({'city': 'Rome'})")] * 2, checkpointer=saver, response_format=Capital)

    with caplog.at_level(logging.WARNING):
        graph.invoke({"question": "Of Italy?"}, CONFIG)
        graph.invoke({"question": "And then?"}, CONFIG)

    assert "unregistered" not in caplog.text


def test_an_answer_of_the_wrong_form_carries_no_earlier_one(agent: Build) -> None:
    replies = [repl("FINAL({'city': 'Rome'})"), *[repl("FINAL('unknown')")] * 9]
    graph = agent(replies, checkpointer=InMemorySaver(), response_format=Capital)

    first = graph.invoke({"question": "Of Italy?"}, CONFIG)
    second = graph.invoke({"question": "Of Atlantis?"}, CONFIG)

    assert first["structured_response"] == Capital(city="Rome")
    assert second["answer"].text == "unknown"
    assert "structured_response" not in second


def test_a_result_shows_its_answer_in_a_notebook_as_text(agent: Build) -> None:
    result = agent([repl("FINAL('<script>alert(1)</script>\\u202e')")]).invoke({"question": "Go."})

    shown = result._repr_html_()
    assert "&lt;script&gt;alert(1)&lt;/script&gt;\\u202e" in shown
    assert "<script>" not in shown
    assert "turns" in shown


@pytest.mark.parametrize("value", [Usage(turns=3), Budget(), Answer(value="<b>", text="<b>", complete=False)])
def test_values_show_themselves_in_a_notebook(value: Any) -> None:
    assert value._repr_html_().startswith("<")
    assert "<b>" not in value._repr_html_()
