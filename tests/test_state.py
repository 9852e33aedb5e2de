"""What a checkpoint holds comes back as it was."""

from __future__ import annotations

from typing import Any

import pytest
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from pydantic import BaseModel

from rlm_graph.state import (
    STORED_TYPES,
    Answer,
    Cell,
    CellError,
    Execution,
    FinalAnswer,
    SubcallReply,
    Turn,
    Variable,
)  # fmt: skip

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


def test_a_text_that_looks_like_one_in_another_form_is_a_text() -> None:
    value = Answer(value={"__escaped__": True, "text": "t"}, text="__escaped__")

    assert Answer.model_validate(value.model_dump()) == value


def test_what_is_shown_stands_in_its_own_form() -> None:
    assert Answer(value=LONE, text="t").model_dump(mode="json")["value"] == LONE
