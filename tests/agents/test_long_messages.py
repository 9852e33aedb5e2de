"""A long message is a context: its material goes into the REPL, its question stays, and the model is told of both."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph

from rlm_graph import AgentOptions, ContextStore, ModelSettings
from rlm_graph.agents.graph import RLMGraph
from rlm_graph.agents.long_messages import LEAST_CHARS, most_chars, shortened
from rlm_graph.testing import ScriptedModel
from tests.graphs.conftest import repl

Build = Callable[..., RLMGraph]
CONFIG: Any = {"configurable": {"thread_id": "a run"}}
LONG = "".join(f"line {number} with a needle\n" for number in range(40_000))
QUESTION = "How many lines are there?"
LOOK = repl("FINAL([type(context).__name__, len(context or ''), len(contexts)])")


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.fixture
def model() -> ScriptedModel:
    return ScriptedModel(lambda _: LOOK)


WAYS: dict[str, Any] = {
    "a message": [HumanMessage(f"{QUESTION}\n\n{LONG}")],
    "a text": f"{QUESTION}\n\n{LONG}",
    "the question at the end": [("user", f"{LONG}\n\n{QUESTION}")],
    "a document": [{"role": "user", "content": f"{QUESTION}\n<document>\n{LONG}</document>"}],
    "a fence": [HumanMessage(f"{QUESTION}\n\n```text\n{LONG}```\n")],
    "an order": [HumanMessage(f"Count the lines. Be exact.\n\n{LONG}\n\n{QUESTION}")],
    "blocks": [HumanMessage([{"type": "text", "text": LONG}, {"type": "text", "text": QUESTION}])],
    "messages": [HumanMessage(LONG), AIMessage("What about it?"), HumanMessage(QUESTION)],
    "a tool's result": [
        HumanMessage("Read it."),
        AIMessage("", tool_calls=[{"name": "read", "args": {}, "id": "1"}]),
        ToolMessage(LONG, tool_call_id="1"),
        HumanMessage(QUESTION),
    ],
    "a file": [
        HumanMessage(
            [{"type": "file", "mime_type": "text/plain", "base64": encoded(LONG)}, {"type": "text", "text": QUESTION}]
        )
    ],
}


@pytest.mark.parametrize("way", WAYS)
def test_the_material_is_in_the_repl_and_the_question_before_the_model(
    agent: Build, model: ScriptedModel, way: str
) -> None:
    result = agent(model).invoke({"messages": WAYS[way]})

    assert result["answer"].value == ["str", len(LONG), 1]
    sent = "\n".join(message.text for message in model.calls[0][1:])
    assert QUESTION in sent
    assert f"`context`: a `str` of {len(LONG):,} characters" in sent
    assert len(sent) < 5_000


def test_the_question_of_a_caller_may_be_long_too(agent: Build, model: ScriptedModel) -> None:
    assert agent(model).invoke({"question": f"{QUESTION}\n\n{LONG}"})["answer"].value == ["str", len(LONG), 1]


def test_a_text_that_says_no_question_is_shown_at_both_ends(agent: Build, model: ScriptedModel) -> None:
    text = f"The beginning.\n\n{LONG}\n\nThe end."

    agent(model).invoke({"messages": [HumanMessage(text)]})

    sent = model.calls[0][-1].text
    assert "It begins:\nThe beginning." in sent
    assert sent.index("The end.") > sent.index("It ends:")


def test_short_messages_and_pictures_stay_as_they_are(contexts: ContextStore) -> None:
    messages = [
        HumanMessage("short"),
        HumanMessage([{"type": "image", "base64": encoded(LONG), "mime_type": "image/png"}]),
        HumanMessage([{"type": "file", "base64": encoded(LONG), "mime_type": "application/pdf"}]),
        HumanMessage([{"type": "file", "url": "https://example.org/a.txt", "mime_type": "text/plain"}]),
        AIMessage(LONG),
    ]

    short = shortened(messages, LEAST_CHARS, contexts.take)

    assert short.messages == messages
    assert not short.contexts


FILES: dict[str, Any] = {
    "LangChain": {"type": "text-plain", "text": "one", "title": "a.txt"},
    "LangChain, older": {"type": "file", "source_type": "base64", "data": encoded("one"), "mime_type": "text/csv"},
    "OpenAI": {
        "type": "file",
        "file": {"filename": "a.py", "file_data": f"data:text/x-python;base64,{encoded('one')}"},
    },
    "OpenAI, newer": {"type": "input_file", "filename": "a", "file_data": f"data:;base64,{encoded('one')}"},
    "Anthropic": {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "one"}},
    "Gemini": {"type": "media", "mime_type": "application/json", "data": encoded("one")},
}


@pytest.mark.parametrize("form", FILES)
def test_a_text_file_is_a_context_however_it_is_written(agent: Build, model: ScriptedModel, form: str) -> None:
    given = [HumanMessage([FILES[form], {"type": "text", "text": QUESTION}])]

    assert agent(model).invoke({"messages": given})["answer"].value == ["str", 3, 1]


def test_several_files_are_a_context_by_name(agent: Build, model: ScriptedModel) -> None:
    files = [{"type": "text-plain", "text": "one", "title": name} for name in ("a.txt", "b.txt")]
    model.replies = [repl("FINAL(sorted(context))")]

    result = agent(model).invoke({"messages": [HumanMessage([*files, {"type": "text", "text": QUESTION}])]})

    assert result["answer"].value == ["a.txt", "b.txt"]


def test_a_file_that_is_no_text_stays_for_the_model(contexts: ContextStore) -> None:
    unsure = HumanMessage([{"type": "file", "base64": base64.b64encode(b"\x00\x01\x7fELF" * 99).decode()}])

    assert shortened([unsure], LEAST_CHARS, contexts.take).messages == [unsure]


def test_how_long_is_long_follows_the_window(agent: Build) -> None:
    model = ScriptedModel([repl("FINAL(str(type(context)))")])
    small = AgentOptions(models=ModelSettings(window_tokens=32_000, profile="standard"))
    question = f"{QUESTION}\n\n" + "word " * 2_500

    assert most_chars(128_000) == 48_000
    assert agent(model, options=small).invoke({"question": question})["answer"].value == "<class 'str'>"


def test_a_thread_stores_the_material_once_and_has_it_at_each_question(agent: Build, model: ScriptedModel) -> None:
    graph = agent(model, checkpointer=InMemorySaver())
    long = HumanMessage(f"{QUESTION}\n\n{LONG}", id="the first")

    first = graph.invoke({"messages": [long]}, CONFIG)
    second = graph.invoke({"messages": [HumanMessage("And now?")]}, CONFIG)
    again = graph.invoke({"messages": [long, *second["messages"][1:], HumanMessage("Once more?")]}, CONFIG)

    assert [run["answer"].value for run in (first, second, again)] == [["str", len(LONG), 1]] * 3
    assert len(model.calls) == 3
    assert first["messages"][0] == long
    for checkpoint in graph.checkpointer.list(CONFIG):  # type: ignore[union-attr]
        assert "line 20000 " not in repr(checkpoint)


def test_another_long_message_is_another_context(agent: Build, model: ScriptedModel) -> None:
    graph = agent(model, checkpointer=InMemorySaver())

    graph.invoke({"messages": [HumanMessage(f"{QUESTION}\n\n{LONG}")]}, CONFIG)
    result = graph.invoke({"messages": [HumanMessage(f"{QUESTION}\n\n{LONG}more\n")]}, CONFIG)

    assert result["answer"].value == ["str", len(LONG) + 5, 2]


def test_an_edited_long_message_is_asked_again(agent: Build, model: ScriptedModel) -> None:
    graph = agent(model, checkpointer=InMemorySaver())
    graph.invoke({"messages": [HumanMessage(f"{QUESTION}\n\n{LONG}", id="one")]}, CONFIG)

    edited = LONG.replace("line 7 ", "LINE 7 ")
    result = graph.invoke({"messages": [HumanMessage(f"{QUESTION}\n\n{edited}", id="one")]}, CONFIG)

    assert result["answer"].value == ["str", len(edited), 2]


def test_what_is_written_by_hand_into_a_run_is_taken_in_too(agent: Build, model: ScriptedModel) -> None:
    graph = agent(model, checkpointer=InMemorySaver())
    graph.invoke({"question": "What is there?"}, CONFIG)

    graph.update_state(CONFIG, {"messages": [HumanMessage(f"{QUESTION}\n\n{LONG}")]})

    assert len(graph.get_state(CONFIG).values["messages"][-1].text) < 1_000
    assert graph.invoke({"question": "And now?"}, CONFIG)["answer"].value == ["str", len(LONG), 1]


def test_a_context_that_is_given_beside_it_is_the_context(agent: Build, model: ScriptedModel) -> None:
    given = {"messages": [HumanMessage(f"{QUESTION}\n\n{LONG}")], "context": "given"}

    assert agent(model).invoke(given)["answer"].value == ["str", 5, 2]


def test_a_larger_graph_keeps_its_message_as_it_was(agent: Build, model: ScriptedModel) -> None:
    larger = StateGraph(MessagesState)
    larger.add_node("rlm", agent(model))
    larger.add_edge(START, "rlm")
    graph = larger.compile(checkpointer=InMemorySaver())

    graph.invoke({"messages": [HumanMessage(f"{QUESTION}\n\n{LONG}")]}, CONFIG)
    result = graph.invoke({"messages": [HumanMessage("And now?")]}, CONFIG)

    assert [len(message.text) for message in result["messages"]][::2] == [len(QUESTION) + 2 + len(LONG), 8]
    assert str(len(LONG)) in result["messages"][-1].text


async def test_a_message_is_taken_in_once_however_the_agent_is_called(agent: Build, model: ScriptedModel) -> None:
    graph = agent(model)
    # What stands in the place of the long one is short, and too long beside the other.
    short, long = "a " * (graph.intake.max_chars // 2 - 50), "b " * graph.intake.max_chars
    given: Any = {"messages": [HumanMessage([{"type": "text", "text": text} for text in (short, long)])]}

    results = [graph.invoke(given), await graph.ainvoke(given), list(graph.stream(given, stream_mode="values"))[-1]]

    assert [result["answer"].value for result in results] == [["str", len(long), 1]] * 3
