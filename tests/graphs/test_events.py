"""What a run tells while it is under way."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from langchain_core.messages import BaseMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph

from rlm_graph import Budget
from rlm_graph.agents.graph import RLMGraph
from rlm_graph.events import (
    MAX_CHARS,
    AnswerEvent,
    BudgetEvent,
    CallEvent,
    CellEvent,
    Event,
    OutputEvent,
    SubcallEvent,
    TurnEvent,
    call_of,
)
from rlm_graph.testing import ScriptedModel
from tests.graphs.conftest import repl

Build = Callable[..., RLMGraph]
CONFIG: Any = {"configurable": {"thread_id": "t"}}
QUESTION = {"question": "Go."}


def family(messages: Sequence[BaseMessage]) -> str:
    """A root that asks a batch and a child, and a child that asks one thing."""
    said = sum(message.type == "ai" for message in messages)
    if messages[0].type != "system":
        return messages[-1].text.upper()
    if any("the child's question" in message.text for message in messages if message.type == "human"):
        return [repl("print(llm_query('from the child'))"), repl("FINAL('of the child')")][said]
    asks = "print(llm_query_batched(['a', 'b']))\nx = rlm_query(\"the child's question\")"
    return [repl(asks), repl("FINAL(x)")][said]


def of(events: Sequence[Any], kind: type[Event], call_id: str | None = None) -> list[Any]:
    return [event for event in events if isinstance(event, kind) and call_id in (None, event.call_id)]


@pytest.mark.parametrize("way", ["stream", "astream"])
async def test_a_reader_can_build_the_tree_of_calls(agent: Build, way: str) -> None:
    graph = agent(ScriptedModel(family), checkpointer=InMemorySaver())
    if way == "stream":
        stream = graph.stream(QUESTION, CONFIG, stream_mode="custom", subgraphs=True)
        events = [event for _, event in await asyncio.to_thread(list, stream)]
    else:
        events = [event async for _, event in graph.astream(QUESTION, CONFIG, stream_mode="custom", subgraphs=True)]

    [root] = {event.call_id for event in events if event.parent_id is None}
    asked = [(call.function, call.prompt, call.reply) for call in of(events, SubcallEvent) if call.parent_id == root]
    assert sorted(asked) == [
        ("llm_query", "a", "A"),
        ("llm_query", "b", "B"),
        ("rlm_query", "the child's question", "of the child"),
    ]
    [child] = [call.call_id for call in of(events, SubcallEvent) if call.function == "rlm_query"]
    [inner] = [call for call in of(events, SubcallEvent) if call.parent_id == child]
    assert inner.reply == "FROM THE CHILD"
    assert [event.text for event in of(events, AnswerEvent)] == ["of the child", "of the child"]
    assert [event.number for event in of(events, TurnEvent, child)] == [1, 2]
    assert [event.number for event in of(events, TurnEvent, root)] == [1, 2]
    assert len({call.call_id for call in of(events, SubcallEvent)}) == 4
    begun = [(call.call_id, call.parent_id, call.function, call.prompt) for call in of(events, CallEvent)]
    ended = [(call.call_id, call.parent_id, call.function, call.prompt) for call in of(events, SubcallEvent)]
    assert sorted(begun) == sorted(ended)
    of_child = [event.kind for event in events if event.call_id == child]
    assert (of_child[0], of_child[-1]) == ("call", "subcall")  # what it tells lies between
    assert all(isinstance(json.loads(event.model_dump_json()), dict) for event in events)


async def test_code_is_told_before_it_runs_and_its_output_after(agent: Build) -> None:
    graph = agent([repl("print('hello')\n1 / 0"), repl("FINAL(7)")])

    events = [event async for event in graph.astream(QUESTION, stream_mode="custom")]

    told = [event for event in events if isinstance(event, CellEvent | OutputEvent | AnswerEvent)]
    assert [event.kind for event in told] == ["cell", "output", "cell", "output", "answer"]
    assert told[0].code == "print('hello')\n1 / 0"
    assert (told[1].stdout, told[1].status, told[1].error) == (
        "hello\n",
        "error",
        "ZeroDivisionError: division by zero",
    )
    assert (told[4].text, told[4].complete) == ("7", True)
    spent = of(events, BudgetEvent)
    assert [event.spent.turns for event in spent] == sorted(event.spent.turns for event in spent)
    assert spent[-1].spent.turns == 2


async def test_only_cells_that_run_are_told_and_each_before_the_next(agent: Build) -> None:
    reply = "\n".join([repl("print('one')"), repl("1 / 0"), repl("print('never')")])
    graph = agent([reply, 'FINAL("end")'])

    events = [event async for event in graph.astream(QUESTION, stream_mode="custom")]

    told = [event for event in events if isinstance(event, CellEvent | OutputEvent)]
    assert [event.kind for event in told] == ["cell", "output", "cell", "output"]
    assert [event.code for event in of(told, CellEvent)] == ["print('one')", "1 / 0"]


async def test_the_ceiling_that_was_met_is_told(agent: Build) -> None:
    graph = agent([repl("print(1)"), "the best"], budget=Budget(max_turns=1))

    events = [event async for event in graph.astream(QUESTION, stream_mode="custom")]

    assert [event.ceiling for event in of(events, BudgetEvent)][-2] == "max_turns"
    assert of(events, AnswerEvent)[0].ceiling == "max_turns"


async def test_what_was_answered_before_a_crash_is_not_told_again(agent: Build) -> None:
    model = ScriptedModel([repl("x = llm_query('once')"), ZeroDivisionError("the host dies"), repl("FINAL(x)")])
    graph = agent(model, sub=lambda messages: "reply", checkpointer=InMemorySaver())
    first: list[Any] = []
    second: list[Any] = []

    async def read(given: Any, events: list[Any]) -> None:
        async for _, event in graph.astream(given, CONFIG, stream_mode="custom", subgraphs=True):
            events.append(event)

    with pytest.raises(ZeroDivisionError):
        await read(QUESTION, first)
    await read(None, second)

    assert len(of(first, SubcallEvent)) == 1
    assert of(second, SubcallEvent) == []
    assert [event.number for event in of(second, TurnEvent)] == [2]


async def test_long_texts_are_cut_and_their_length_told(agent: Build) -> None:
    graph = agent([repl("FINAL('x' * 1_000_000)")])

    events = [event async for event in graph.astream(QUESTION, stream_mode="custom")]

    [answer] = of(events, AnswerEvent)
    assert answer.chars == 1_000_000
    assert len(answer.text) <= MAX_CHARS + 1


async def test_tokens_of_children_come_with_the_id_of_their_call(agent: Build) -> None:
    graph = agent(ScriptedModel(family))
    spoken: dict[str, str] = {}
    events = []

    async for _, mode, told in graph.astream(QUESTION, stream_mode=["messages", "custom"], subgraphs=True):
        if mode == "custom":
            events.append(told)
        elif told[0].type == "AIMessageChunk":
            call_id, _ = call_of(told[1]["langgraph_checkpoint_ns"])
            spoken[call_id] = spoken.get(call_id, "") + told[0].text

    for call in of(events, SubcallEvent):
        if call.function == "llm_query":
            assert spoken[call.call_id] == call.reply
        else:
            assert "FINAL('of the child')" in spoken[call.call_id]


async def test_a_reader_who_stops_reading_holds_the_run_back(agent: Build) -> None:
    model = ScriptedModel([repl(f"print({number})") for number in range(5)] + [repl("FINAL(1)")])
    stream = agent(model).astream(QUESTION, stream_mode="custom")

    first = await anext(stream)
    for _ in range(2_000):  # plenty of chances for the engine to go on
        await asyncio.sleep(0)

    assert first.kind == "turn"
    assert len(model.calls) == 1
    assert len([event async for event in stream if isinstance(event, TurnEvent)]) == 5


async def test_as_a_part_of_a_larger_graph_it_tells_there(agent: Build) -> None:
    graph = agent([repl("FINAL('inner')")])

    async def step(state: dict[str, Any]) -> dict[str, Any]:
        return {"out": (await graph.ainvoke(QUESTION))["answer"].value}

    larger = StateGraph(dict).add_node("step", step).add_edge(START, "step").compile()
    events = [event async for _, event in larger.astream({}, stream_mode="custom", subgraphs=True)]

    assert [event.text for event in of(events, AnswerEvent)] == ["inner"]
