"""Front ends remove messages, edit them and trim them: the question that was asked last is the one that is answered."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, RemoveMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph.message import REMOVE_ALL_MESSAGES

from rlm_graph.agents.graph import RLMGraph
from rlm_graph.errors import InputError
from rlm_graph.nodes.questions import new_question
from tests.graphs.conftest import repl

Build = Callable[..., RLMGraph]
CONFIG: Any = {"configurable": {"thread_id": "t"}}


def echo(messages: Sequence[BaseMessage]) -> str:
    prompt = [message.text for message in messages if message.type == "human"][-1]
    return repl(f"FINAL({prompt.splitlines()[2]!r})")


@pytest.fixture
async def asked(agent: Build) -> RLMGraph:
    """An agent that was asked two questions on its thread; it answers with the question."""
    graph = agent(echo, checkpointer=InMemorySaver())
    for question in ("FIRST?", "SECOND?"):
        await graph.ainvoke({"messages": [HumanMessage(question, id=question)], "context": "x"}, CONFIG)
    return graph


async def messages_of(graph: RLMGraph) -> list[BaseMessage]:
    return list((await graph.aget_state(CONFIG)).values["messages"])


async def answered(graph: RLMGraph, given: Any) -> Any:
    return (await graph.ainvoke(given, CONFIG))["answer"].value


async def test_a_history_that_was_cleared_gives_the_next_question(asked: RLMGraph) -> None:
    await asked.aupdate_state(CONFIG, {"messages": [RemoveMessage(id=REMOVE_ALL_MESSAGES)]})

    assert await answered(asked, {"question": "THIRD?"}) == "THIRD?"
    assert [message.text for message in await messages_of(asked)] == ["THIRD?", "THIRD?"]
    assert await answered(asked, {"question": "FOURTH?"}) == "FOURTH?"


@pytest.mark.parametrize("kept", [0, 1, 2, 3])
async def test_a_history_that_was_trimmed_gives_the_next_question(asked: RLMGraph, kept: int) -> None:
    gone = (await messages_of(asked))[: 4 - kept]
    await asked.aupdate_state(CONFIG, {"messages": [RemoveMessage(id=str(message.id)) for message in gone]})

    assert await answered(asked, {"question": "THIRD?"}) == "THIRD?"


async def test_messages_may_be_removed_with_the_question(asked: RLMGraph) -> None:
    given = [RemoveMessage(id="FIRST?"), RemoveMessage(id="SECOND?"), HumanMessage("THIRD?")]

    assert await answered(asked, {"messages": given}) == "THIRD?"


async def test_a_question_that_was_edited_is_asked_again(asked: RLMGraph) -> None:
    assert await answered(asked, {"messages": [HumanMessage("EDITED?", id="SECOND?")]}) == "EDITED?"


async def test_an_earlier_question_may_be_edited_where_those_after_it_are_removed(asked: RLMGraph) -> None:
    gone = [RemoveMessage(id=str(message.id)) for message in (await messages_of(asked))[1:]]

    assert await answered(asked, {"messages": [*gone, HumanMessage("EDITED?", id="FIRST?")]}) == "EDITED?"


async def test_a_question_whose_answer_was_removed_is_asked_again(asked: RLMGraph) -> None:
    last = (await messages_of(asked))[-1]

    assert await answered(asked, {"messages": [RemoveMessage(id=str(last.id))]}) == "SECOND?"
    assert [message.text for message in await messages_of(asked)] == ["FIRST?", "FIRST?", "SECOND?", "SECOND?"]


async def test_messages_that_come_with_a_question_are_told_and_others_are_not_told_twice(agent: Build) -> None:
    sent: list[Sequence[BaseMessage]] = []

    def root(messages: Sequence[BaseMessage]) -> str:
        sent.append(messages)
        return echo(messages)

    graph = agent(root, checkpointer=InMemorySaver())
    await graph.ainvoke({"question": "FIRST?", "context": "x"}, CONFIG)
    first = (await messages_of(graph))[0]
    await graph.aupdate_state(CONFIG, {"messages": [RemoveMessage(id=str(first.id))]})
    more = [HumanMessage("Mind the gap."), AIMessage("I do."), HumanMessage("SECOND?")]

    assert await answered(graph, {"messages": more}) == "SECOND?"
    assert [message.text for message in sent[-1]].count("Mind the gap.") == 1
    assert [message.text for message in sent[-1]].count("I do.") == 1
    assert not any(message.text == "FIRST?" for message in sent[-1])


async def test_no_question_is_an_error(asked: RLMGraph) -> None:
    with pytest.raises(InputError, match="there is no question"):
        await asked.ainvoke({"messages": [AIMessage("Hello.")]}, CONFIG)


async def test_a_run_that_an_earlier_version_recorded_is_asked_by_its_count(asked: RLMGraph) -> None:
    state = dict((await asked.aget_state(CONFIG)).values)

    old = {key: value for key, value in state.items() if key not in ("asked", "told")}
    more = {**old, "messages": [*old["messages"], HumanMessage("THIRD?", id="3")]}
    cleared = {**old, "messages": [HumanMessage("THIRD?", id="3")]}

    assert new_question(old) is None  # type: ignore[arg-type]
    for changed in (more, cleared):
        found = new_question(changed)  # type: ignore[arg-type]
        assert found is not None
        assert found[1].text == "THIRD?"
