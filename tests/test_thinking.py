"""What a model has thought aloud is no part of its answer; a text that names the tags is."""

from __future__ import annotations

import pytest
from langchain_core.messages import AIMessage

from rlm_graph.parsing import parse
from rlm_graph.thinking import without_thinking


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("<think>maybe 30? no: 90</think>\n90 days", "90 days"),
        ("<think>\n\n</think>\n\n90 days", "90 days"),
        ("<THINKING>a</THINKING><think>b</think>90 days", "90 days"),
        ("<reasoning>a</reasoning> 90 days", "90 days"),
        ("<seed:think>a</seed:think>90 days", "90 days"),
        ("[THINK]a[/THINK]90 days", "90 days"),
        ("◁think▷a◁/think▷90 days", "90 days"),
        ("<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>final<|message|>90 days", "90 days"),
        ("the prompt began it\n</think>\n\n90 days", "90 days"),
        ("the prompt began it</think>90 days", "90 days"),
        ("<think>never came to an end", ""),
        ('<think>a</think>{"days": 90}', '{"days": 90}'),
        ("90 days\n<think>was that right?</think>\nYes.", "90 days\n\nYes."),
    ],
)
def test_thinking_is_left_out(text: str, answer: str) -> None:
    assert without_thinking(text) == answer


@pytest.mark.parametrize(
    "text",
    [
        "90 days",
        "",
        "Models put their thoughts between <think> and </think>.",
        "<think> and </think> are the tags.",
        "<think> is a tag",
        "The closing tag is </think>.",
        "`</think>` ends it",
        "```xml\n<think>\na\n</think>\n```\nThat is the form.",
        "<analysis>asked for by the prompt</analysis>",
        "a < b and think > c",
    ],
)
def test_a_text_that_names_the_tags_stays(text: str) -> None:
    assert without_thinking(text) == text


@pytest.mark.parametrize("before", [65_520, 65_530, 65_536, 200_000])
@pytest.mark.parametrize("filling", ["x", "é", "<", "a\n", "a think [1] "])
@pytest.mark.parametrize("tags", [("<think>", "</think>"), ("<THIN\u212a>", "</thin\u212a>"), ("[think]", "[/think]")])
def test_thinking_is_found_wherever_it_stands_in_a_long_text(before: int, filling: str, tags: tuple[str, str]) -> None:
    lead = (filling * before)[:before]

    assert without_thinking(f"{lead}\n{tags[0]}a{tags[1]}90 days") == f"{lead}\n90 days"
    assert without_thinking(f"{lead}{tags[1]}\n90 days") == "90 days"
    assert without_thinking(f"{lead} {tags[0]} is a tag") == f"{lead} {tags[0]} is a tag"


@pytest.mark.parametrize("fence", ["```", "~~~~"])
def test_what_stands_in_a_fence_is_nobodys_thinking(fence: str) -> None:
    shown = f"{fence}\n<think>\na</think>\n<think>b</think>\n{fence}\n"

    assert without_thinking(f"{shown}90 days") == f"{shown}90 days"
    assert without_thinking(f"{shown}<think>c</think>90 days") == f"{shown}90 days"
    assert without_thinking(f"{shown}{fence}\n<think>open") == f"{shown}{fence}\n<think>open"


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        ("<think>FINAL(1)</think>\nFINAL(2)", "2"),
        ("FINAL(1)\n</think>\nFINAL(2)", "2"),
        ('{"final": "<think>a</think>b"}', "b"),
        ("FINAL(The <think> tag marks thoughts)", "The <think> tag marks thoughts"),
    ],
)
def test_no_answer_of_the_root_holds_thinking(reply: str, answer: str) -> None:
    final = parse(AIMessage(reply)).final

    assert final is not None
    assert str(final.value) == answer
