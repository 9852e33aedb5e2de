"""What a checkpoint holds comes back as it was."""

from __future__ import annotations

import pickle
from typing import Any

import ormsgpack
import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.jsonplus import EXT_PYDANTIC_V2, JsonPlusSerializer
from pydantic import BaseModel, ValidationError

from rlm_graph import create_rlm_agent
from rlm_graph.state import (
    STORED_TYPES,
    Answer,
    Cell,
    CellError,
    Execution,
    FinalAnswer,
    NativeCall,
    PendingToolCall,
    SubcallReply,
    ToolCallAnswer,
    Turn,
    Variable,
)  # fmt: skip
from rlm_graph.testing import ScriptedModel

LONE = "lone \ud800 surrogate, \udfff"
ERROR = CellError(type="E", message=LONE)
EXECUTION = Execution(
    number=1, code=f"print('{LONE}')", status="ok", stdout=LONE, value=LONE, error=ERROR,
    final=FinalAnswer(value={"plain": [LONE, {"deep": LONE}]}),
)  # fmt: skip


@pytest.mark.parametrize(
    "value",
    [
        Answer(value=LONE, text=LONE),
        Answer(value={LONE: {"x": [None, 1.5, True, "é"], LONE: 1}}, text="t"),
        Answer(value={"text": "t", "items": [["a", "b"]], "kind": "dict"}, text=LONE),
        Cell(code=LONE),
        SubcallReply(value=LONE),
        SubcallReply(value=[{"text": "no bytes"}], error="\ud83d"),
        Turn(number=1, namespace="act:1", executions=(EXECUTION,), variables=(Variable(name="x", type="str"),)),
        Turn(number=1, namespace="act:1", executions=(EXECUTION,), notes=(LONE,)),
        Turn(number=1, namespace="act:1", notes=("plain \N{PILE OF POO}",)),
    ],
)
def test_lone_surrogates_come_back(value: BaseModel) -> None:
    serializer = JsonPlusSerializer(allowed_msgpack_modules=STORED_TYPES)

    again: Any = serializer.loads_typed(serializer.dumps_typed({"replies": {0: value}, "more": [value]}))

    assert again == {"replies": {0: value}, "more": [value]}
    assert type(again["more"][0]) is type(value)


def test_what_code_may_nest_is_stored_whatever_its_keys_are() -> None:
    serializer = JsonPlusSerializer(allowed_msgpack_modules=STORED_TYPES)
    value: Any = 1 << 70
    for _ in range(100):
        value = {LONE: value}
    execution = Execution(number=1, code="", status="final", final=FinalAnswer(value=value))

    again: Any = serializer.loads_typed(
        serializer.dumps_typed([[Turn(number=1, namespace="", executions=(execution,))]])
    )

    assert again[0][0].executions[0].final.value == value


def test_records_of_earlier_versions_are_read() -> None:
    record = {"items": [[{"text": LONE.encode("utf-8", "surrogatepass")}, 1]], "kind": b"dict"}

    assert FinalAnswer.model_validate({"value": record, "__escaped__": True}).value == {LONE: 1}


def test_a_text_that_looks_like_one_in_another_form_is_a_text() -> None:
    value = Answer(value={"__escaped__": True, "text": "t"}, text="__escaped__")

    assert Answer.model_validate(value.model_dump()) == value


def test_what_is_shown_stands_in_its_own_form() -> None:
    assert Answer(value=LONE, text="t").model_dump(mode="json")["value"] == LONE


CALL = PendingToolCall(id="1", name="double", function="double", arguments={"number": 4})
ANSWER = ToolCallAnswer(id="1", text=LONE)


@pytest.mark.parametrize(
    ("name", "value", "reader"),
    [
        ("NativeCall", CALL, "STORED_TYPES"),
        ("NativeCall", CALL, "all types"),
        ("NativeCall", CALL, "the types in the schema of the state"),
        ("NativeAnswer", ANSWER, "STORED_TYPES"),
        ("NativeAnswer", ANSWER, "all types"),
    ],
)
def test_what_an_older_version_stored_under_another_name_is_what_it_is_called_now(
    name: str, value: BaseModel, reader: str
) -> None:
    stored = ormsgpack.packb(("rlm_graph.state", name, value.model_dump(), "model_validate_json"))
    written = "msgpack", ormsgpack.packb([ormsgpack.Ext(EXT_PYDANTIC_V2, stored)])
    match reader:
        case "STORED_TYPES":
            serializer = JsonPlusSerializer(allowed_msgpack_modules=STORED_TYPES)
        case "all types":
            serializer = JsonPlusSerializer(allowed_msgpack_modules=True)
        case _:
            saver = InMemorySaver(serde=JsonPlusSerializer(allowed_msgpack_modules=None))
            serializer = create_rlm_agent(ScriptedModel([]), checkpointer=saver).checkpointer.serde

    [again] = serializer.loads_typed(written)

    assert again == value
    assert type(again) is type(value)
    assert serializer.loads_typed(serializer.dumps_typed(again)) == value


def test_answers_inside_a_turn_name_no_type_of_their_own() -> None:
    written = JsonPlusSerializer().dumps_typed([Turn(number=1, namespace="act:1", answers=(ANSWER,))])

    assert b"ToolCallAnswer" not in written[1]


def test_what_is_made_by_an_older_name_copies_and_pickles_as_what_it_is() -> None:
    made = NativeCall(**CALL.model_dump())

    assert [type(made), made] == [PendingToolCall, CALL]
    assert pickle.loads(pickle.dumps(made)) == made.model_copy() == NativeCall.model_validate(CALL.model_dump()) == CALL
    assert type(NativeCall.model_construct(id=1)) is PendingToolCall
    with pytest.raises(ValidationError, match="PendingToolCall"):
        NativeCall(id="1")


def test_the_state_is_found_where_it_stood_before() -> None:
    from rlm_graph import channels, state

    assert state.RLMState is channels.RLMState
    assert state.GraphInput is channels.GraphInput
    with pytest.raises(AttributeError, match="no attribute 'RLMStat'"):
        state.RLMStat  # noqa: B018  # to look it up is all
