"""What is worked out of a message is worked out once, and again if the message was changed."""

from __future__ import annotations

import gc

from langchain_core.messages import AIMessage, AnyMessage, BaseMessage, HumanMessage

from rlm_graph.models import openai_messages
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


def test_a_dialogue_that_has_grown_is_worked_on_where_it_is_new() -> None:
    worked: list[str] = []
    asked: list[str] = []

    class Watching(OncePerMessage[int]):
        def __call__(self, message: BaseMessage) -> int:
            asked.append(message.text)
            return super().__call__(message)

    def work(message: BaseMessage) -> int:
        worked.append(message.text)
        return len(message.text)

    measured = Watching(work)
    dialogue: list[BaseMessage] = [HumanMessage("which?")]
    for turn in range(100):
        dialogue = [*dialogue, AIMessage(f"step {turn:03}"), HumanMessage(f"output {turn:03}")]
        asked.clear()
        assert measured.each(dialogue) == [6, *[8, 10] * (turn + 1)]
        assert len(asked) == (3 if turn == 0 else 2)
    assert len(worked) == 201


def test_a_change_anywhere_in_a_dialogue_is_seen() -> None:
    measured = OncePerMessage(lambda message: len(message.text))
    said: list[BaseMessage] = [HumanMessage("one"), AIMessage([{"type": "text", "text": "parts"}]), HumanMessage("end")]
    assert measured.each(said) == [3, 5, 3]

    said[0].content = "eleven"
    assert measured.each(said) == [6, 5, 3]
    said[1].content[0] = {"type": "text", "text": "others!"}  # type: ignore[index]  # a list
    assert measured.each(said) == [6, 7, 3]
    assert measured.each(said[:2]) == [6, 7]
    assert measured.each([*said[:2], AIMessage("another branch")]) == [6, 7, 14]
    assert measured.each(said[:1]) == [6]
    assert measured.each([]) == []


def test_dialogues_that_are_over_are_forgotten() -> None:
    measured = OncePerMessage(lambda message: len(message.text))
    rules = HumanMessage("the rules of all of them")
    dialogues = [[rules, HumanMessage(str(number)), AIMessage("reply")] for number in range(10)]
    assert [measured.each(dialogue) for dialogue in dialogues] == [[24, 1, 5]] * 10

    dialogues.clear()
    gc.collect()

    assert len(measured) == 1
    assert not measured._walks


def test_a_request_encodes_the_messages_of_its_turn_alone() -> None:
    dialogue: list[AnyMessage] = [HumanMessage("Which?"), AIMessage("step"), HumanMessage("output")]
    first = openai_messages.encoded.each(dialogue)
    again = openai_messages.encoded.each([*dialogue, AIMessage("one more")])

    assert all(one is other for one, other in zip(first, again, strict=False))
    assert again[3] == b'{"role":"assistant","content":"one more"}'
