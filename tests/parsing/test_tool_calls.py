"""A reply of a model that calls tools: whatever stands in it, each call is a cell, a call or a refusal with its id."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage
from langchain_core.messages.tool import invalid_tool_call, tool_call

from rlm_graph.parsing import answerable, parse_tool_calls

HOSTS = {"rlm_sub_complete": "llm_query", "search": "search"}

names = st.one_of(
    st.sampled_from(["python", "final_answer", "search", "rlm_sub_complete", "rlm_query", "FINAL_VAR", "bash", ""]),
    st.text(max_size=8),
)
ids = st.one_of(st.none(), st.just(""), st.sampled_from(["a", "b"]))
leaves = st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=20), st.floats(allow_nan=True))
arguments = st.dictionaries(
    st.one_of(st.sampled_from(["code", "answer", "variable", "prompt"]), st.text(max_size=5)),
    st.recursive(leaves, lambda inner: st.lists(inner, max_size=3), max_leaves=5),
    max_size=3,
)
valid = st.builds(lambda name, args, id: tool_call(name=name, args=args, id=id), names, arguments, ids)
invalid = st.builds(
    lambda name, args, id: invalid_tool_call(name=name, args=args, id=id, error=None),
    st.one_of(st.none(), names),
    st.one_of(st.none(), st.text(max_size=30)),
    ids,
)


def read(message: AIMessage) -> Any:
    return parse_tool_calls(answerable(message), hosts=HOSTS, invalid=len(message.invalid_tool_calls))


@given(st.lists(valid, max_size=4), st.lists(invalid, max_size=3), st.text(max_size=40))
def test_every_call_is_accounted_for_under_an_id_of_its_own(calls: list[Any], broken: list[Any], text: str) -> None:
    message = AIMessage(text, tool_calls=calls, invalid_tool_calls=broken)

    mended, reply = answerable(message), read(message)

    ids = [call["id"] for call in mended.tool_calls]
    assert all(ids)
    assert len(set(ids)) == len(ids) == len(calls) + len(broken)
    assert mended.invalid_tool_calls == []
    if reply.calls:
        assert [call.id for call in reply.calls] == ids
        assert [call.cell for call in reply.calls if call.cell is not None] == list(range(len(reply.cells)))
        assert all(
            sum([call.cell is not None, bool(call.function), call.problem is not None]) == 1 for call in reply.calls
        )
    else:
        assert (reply.final is not None) + (reply.problem is not None) + bool(reply.cells) == 1


@pytest.mark.parametrize("name", ["python", "execute_python", "code_interpreter", "repl"])
def test_code_is_a_cell_whatever_the_tool_is_called(name: str) -> None:
    reply = read(AIMessage("", tool_calls=[tool_call(name=name, args={"code": "x = 1"}, id="a")]))

    assert [cell.code for cell in reply.cells] == ["x = 1"]


def test_code_in_the_place_of_arguments_is_a_cell() -> None:
    broken = invalid_tool_call(name="python", args="print(6 * 7)", id="a", error=None)

    reply = read(AIMessage("", invalid_tool_calls=[broken]))

    assert [cell.code for cell in reply.cells] == ["print(6 * 7)"]
    assert reply.calls[0].id == "a"


def test_a_function_of_the_repl_that_is_no_tool_is_called_in_a_cell() -> None:
    reply = read(AIMessage("", tool_calls=[tool_call(name="rlm_query", args={"question": "q"}, id="a")]))

    assert reply.cells[0].code == "print(rlm_query(question='q'))"


def test_of_several_answers_the_first_is_taken() -> None:
    both = [tool_call(name="final_answer", args={"answer": answer}, id=answer) for answer in ("one", "two")]

    assert read(AIMessage("", tool_calls=both)).final.value == "one"
