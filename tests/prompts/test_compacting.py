"""What a model with a small window reads of a long run."""

from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, SystemMessage, ToolMessage

from rlm_graph.prompts import compacted, tokens

QUESTIONS = {"q", "q1", "q2"}
QUESTION = HumanMessage("Which ship sank first?", id="q1")
SYSTEM = SystemMessage("You have a REPL.")


def turns(count: int, *, chars: int = 3_000) -> list[AnyMessage]:
    """Write a dialogue of so many turns, each with an observation of so many characters."""
    dialogue: list[AnyMessage] = [QUESTION]
    for number in range(1, count + 1):
        dialogue += [AIMessage(f"```repl\nstep({number})\n```"), HumanMessage(f"output {number}: " + "x" * chars)]
    return dialogue


def test_a_dialogue_that_fits_is_sent_as_it_is() -> None:
    dialogue = turns(5)

    assert compacted(dialogue, questions=QUESTIONS, window_tokens=10_000, besides=[SYSTEM]) == dialogue


def test_the_oldest_outputs_go_first_and_the_code_stays() -> None:
    sent = compacted(turns(10), questions=QUESTIONS, window_tokens=8_000)

    assert sent[0] == QUESTION
    assert [message.text for message in sent[1::2]] == [f"```repl\nstep({number})\n```" for number in range(1, 11)]
    assert "removed" in sent[2].text
    assert sent[-1].text.startswith("output 10: xxx")


def test_turns_that_are_gone_as_a_whole_are_told_with_the_question() -> None:
    sent = compacted(turns(200, chars=400), questions=QUESTIONS, window_tokens=2_000)

    assert sent[0].text.startswith(f"{QUESTION.text}\n\nNote: ")
    assert "earlier turns" in sent[0].text
    assert sent[-1].text.startswith("output 200: ")


def test_what_was_left_out_stays_so_while_there_is_room_so_that_a_cache_holds() -> None:
    sent = [compacted(turns(count), questions=QUESTIONS, window_tokens=8_000) for count in range(1, 30)]
    kept = sum(longer[: len(shorter)] == shorter for shorter, longer in itertools.pairwise(sent))

    assert kept > len(sent) * 0.6


def test_each_tool_call_keeps_its_answer() -> None:
    dialogue: list[AnyMessage] = [QUESTION]
    for number in range(50):
        call = {"name": "python", "args": {"code": "f()"}, "id": f"c{number}"}
        dialogue += [AIMessage("", tool_calls=[call]), ToolMessage("y" * 900, tool_call_id=f"c{number}")]
    sent = compacted(dialogue, questions=QUESTIONS, window_tokens=2_500)

    asked = [call["id"] for message in sent if isinstance(message, AIMessage) for call in message.tool_calls]
    assert asked == [message.tool_call_id for message in sent if isinstance(message, ToolMessage)]
    assert asked[-1] == "c49"


def test_a_second_question_stays_and_the_first_may_go() -> None:
    dialogue = [
        *turns(40),
        AIMessage("The Vasa."),
        HumanMessage("And the second?", id="q2"),
        AIMessage("```repl\nf()\n```"),
    ]
    sent = compacted(dialogue, questions=QUESTIONS, window_tokens=1_200)

    assert any(message.text.startswith("And the second?") for message in sent)
    assert tokens(sent) <= 1_200


def test_one_message_that_is_longer_than_the_window_loses_its_middle() -> None:
    dialogue = [QUESTION, AIMessage("a" * 1_000_000), HumanMessage("output")]
    sent = compacted(dialogue, questions=QUESTIONS, window_tokens=4_000)

    assert tokens(sent) <= 4_000
    assert "characters left out" in sent[1].text


def test_an_image_of_the_question_is_kept() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
    asked = HumanMessage([{"type": "text", "text": "What is it?"}, image], id="q")
    sent = compacted([asked, *turns(60)[1:]], questions=QUESTIONS, window_tokens=2_000)

    assert image in sent[0].content
    assert "earlier turns" in sent[0].text


@settings(max_examples=200)
@given(
    st.lists(st.tuples(st.integers(0, 3_000), st.integers(0, 6_000), st.booleans()), max_size=40),
    st.integers(700, 20_000),
)
def test_whatever_was_said_fits_the_window_and_ends_with_what_was_said_last(
    said: list[tuple[int, int, bool]], window_tokens: int
) -> None:
    dialogue: list[AnyMessage] = [QUESTION]
    for number, (code, output, is_question) in enumerate(said):
        dialogue += [AIMessage("c" * code), HumanMessage("o" * output, id=f"q{number}" if is_question else None)]
    before = list(dialogue)

    sent = compacted(dialogue, questions={message.id for message in dialogue} - {None}, window_tokens=window_tokens)

    assert tokens(sent) <= window_tokens
    assert type(sent[-1]) is type(dialogue[-1])
    assert sum(isinstance(message, HumanMessage) for message in sent) >= 1
    assert dialogue == before
