"""A conversation that others have had is told in a form that every provider takes."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, SystemMessage, ToolMessage

from rlm_graph.nodes.history import alternating

CALL: Any = {"name": "search", "args": {"q": "x"}, "id": "c1"}

CONVERSATIONS: dict[str, list[AnyMessage]] = {
    "two of the user": [HumanMessage("hi"), HumanMessage("now?")],
    "the assistant begins": [AIMessage("How can I help?"), HumanMessage("now?")],
    "two of the assistant": [HumanMessage("hi"), AIMessage("one"), AIMessage("two"), HumanMessage("now?")],
    "an empty one": [HumanMessage("hi"), AIMessage(""), HumanMessage("now?")],
    "a call and its result": [
        HumanMessage("hi"), AIMessage("", tool_calls=[CALL]), ToolMessage("found", tool_call_id="c1"),
        AIMessage("ok"), HumanMessage("now?"),
    ],
    "a call without its result": [HumanMessage("hi"), AIMessage("", tool_calls=[CALL]), HumanMessage("now?")],
    "a result without its call": [ToolMessage("found", tool_call_id="c0"), HumanMessage("now?")],
    "a system message in the middle": [HumanMessage("hi"), AIMessage("ok"), SystemMessage("be brief"),
                                       HumanMessage("now?")],
}  # fmt: skip


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_human_and_model_take_turns_without_calls_and_empty_words(name: str) -> None:
    told = alternating(CONVERSATIONS[name], after=None)

    assert [message.type for message in told] == ["human", "ai"] * (len(told) // 2) + ["human"]
    assert all(message.text for message in told)
    assert not any(isinstance(message, AIMessage) and message.tool_calls for message in told)
    assert told[-1].text.endswith("now?")
    assert told[-1].id == CONVERSATIONS[name][-1].id


def test_what_tools_were_asked_and_returned_is_told_in_words() -> None:
    told = "\n".join(message.text for message in alternating(CONVERSATIONS["a call and its result"], after=None))

    assert '[Called the tool search with {"q": "x"}]' in told
    assert "[A tool returned: found]" in told


def test_the_answer_to_a_call_of_the_dialogue_itself_stays() -> None:
    own = AIMessage("", tool_calls=[CALL])
    answer = ToolMessage("done", tool_call_id="c1")

    assert alternating([answer, HumanMessage("now?")], after=own)[0] is answer


def test_pictures_of_messages_that_are_put_together_stay() -> None:
    picture = {"type": "image", "base64": "AAAA", "mime_type": "image/png"}

    [told] = alternating([HumanMessage(["see", picture]), HumanMessage("now?")], after=None)

    assert picture in told.content
    assert told.text.endswith("now?")
