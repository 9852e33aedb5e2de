"""What is worked out of a message is worked out once, and again if the message was changed."""

from __future__ import annotations

import gc

from langchain_core.messages import AIMessage, AnyMessage, BaseMessage, HumanMessage

from rlm_graph.per_message import OncePerMessage
from rlm_graph.prompts import compacted, compacting


def test_a_message_is_worked_on_once_until_it_holds_something_else() -> None:
    worked: list[str] = []

    def work(message: BaseMessage) -> int:
        worked.append(message.text)
        return len(message.text)

    measured = OncePerMessage(work)
    said: list[BaseMessage] = [HumanMessage("one"), AIMessage("three")]
    assert [measured(message) for message in said * 3] == [3, 5] * 3
    assert worked == ["one", "three"]

    said[0].content = "eleven"
    said[1] = AIMessage([{"type": "text", "text": "parts"}])
    said[1].content[0] = {"type": "text", "text": "others"}  # type: ignore[index]  # a list
    assert [measured(message) for message in said] == [6, 6]
    said[1].content[0] = {"type": "text", "text": "three parts"}  # type: ignore[index]  # a list
    said[1].tool_calls.append({"name": "f", "args": {}, "id": "1"})  # type: ignore[attr-defined]  # an AIMessage
    assert measured(said[1]) == 11


def test_a_message_is_forgotten_when_nobody_else_has_it() -> None:
    measured = OncePerMessage(lambda message: len(message.text))
    said = [HumanMessage(str(number)) for number in range(10)]
    assert [measured(message) for message in said] == [1] * 10
    assert len(measured) == 10

    said.clear()
    gc.collect()

    assert len(measured) == 0


def test_a_turn_more_measures_the_messages_of_that_turn_alone() -> None:
    dialogue: list[AnyMessage] = [HumanMessage("Which?", id="q")]
    for number in range(50):
        dialogue += [AIMessage(f"step {number}"), HumanMessage(f"output {number}")]
    compacted(dialogue, questions={"q"}, window_tokens=1_000_000)
    known = len(compacting._tokens)

    dialogue += [AIMessage("one more"), HumanMessage("its output")]
    compacted(dialogue, questions={"q"}, window_tokens=1_000_000)

    assert len(compacting._tokens) == known + 2
