from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from langchain_core.messages import AIMessage, HumanMessage

from rlm_graph.testing import ScriptedCall, ScriptedModel, ScriptedReply


def test_replies_come_in_order_and_calls_are_kept() -> None:
    model = ScriptedModel(["one", AIMessage("two")])

    assert model.invoke("a").text == "one"
    assert model.invoke([HumanMessage("b")]).text == "two"
    assert [call[-1].text for call in model.calls] == ["a", "b"]
    with pytest.raises(IndexError, match="the script has 2 replies, and this is call 3"):
        model.invoke("c")


def test_a_function_answers_the_conversation() -> None:
    model = ScriptedModel(lambda messages: messages[-1].text.upper())

    assert model.invoke("abc").text == "ABC"


async def test_all_ways_to_ask_give_the_same_message() -> None:
    reply = ScriptedReply("a reply of some length", tool_calls=[ScriptedCall("f", {"x": [1]})])
    model = ScriptedModel(lambda _: reply)

    invoked, ainvoked = model.invoke("x"), await model.ainvoke("x")
    streamed, *rest = list(model.stream("x"))
    for chunk in rest:
        streamed += chunk
    astreamed, *more = [chunk async for chunk in model.astream("x")]
    for chunk in more:
        astreamed += chunk

    assert len(rest) > 2
    for message in (invoked, ainvoked, streamed, astreamed):
        assert message.text == "a reply of some length"
        assert [(call["name"], call["args"], call["id"]) for call in message.tool_calls] == [
            ("f", {"x": [1]}, "call_1")
        ]
        assert message.usage_metadata == {"input_tokens": 1, "output_tokens": 6, "total_tokens": 7}


def test_an_exception_in_the_script_is_raised() -> None:
    with pytest.raises(ConnectionError, match="gone"):
        ScriptedModel([ConnectionError("gone")]).invoke("x")


def test_tools_are_bound_and_left_to_the_script() -> None:
    bound = ScriptedModel(["x"]).bind_tools([{"name": "f"}])

    assert bound.invoke("x").text == "x"


def test_usage_is_what_the_script_says() -> None:
    model = ScriptedModel([ScriptedReply("x", input_tokens=3, output_tokens=4), ScriptedReply("x", usage=False)])

    assert model.invoke("x").usage_metadata == {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7}
    assert model.invoke("x").usage_metadata is None


def test_threads_share_a_script_without_losing_a_call() -> None:
    model = ScriptedModel([str(number) for number in range(100)])
    with ThreadPoolExecutor(16) as pool:
        replies = list(pool.map(lambda _: model.invoke("x").text, range(100)))

    assert sorted(map(int, replies)) == list(range(100))
    assert len(model.calls) == 100
