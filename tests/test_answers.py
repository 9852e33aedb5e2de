"""Typed answers: what fits its form reaches the caller, and a form that nothing can fit is refused."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import uuid
from pathlib import Path
from typing import Any, Literal

import pytest
from langgraph.checkpoint.sqlite import SqliteSaver
from pydantic import BaseModel, ConfigDict, Field, HttpUrl, RootModel, field_validator
from typing_extensions import TypedDict

from rlm_graph import AgentOptions, create_rlm_agent
from rlm_graph.answers import AnswerFormat
from rlm_graph.errors import SetupError
from rlm_graph.state import FinalAnswer
from rlm_graph.testing import ScriptedModel

LONG = 2**100


class Level(enum.Enum):
    LOW = "low"


class Strict(BaseModel):
    model_config = ConfigDict(strict=True)

    level: Level
    day: datetime.date
    id: uuid.UUID
    price: decimal.Decimal
    raw: bytes
    count: int
    tags: set[str]


class Link(BaseModel):
    url: HttpUrl


class Numbers(RootModel[list[int]]):
    pass


@dataclasses.dataclass
class Stay:
    city: str
    until: datetime.date


class Person(TypedDict):
    born: datetime.date


class Named(BaseModel):
    first: str = Field(alias="firstName")


class Group(BaseModel):
    members: list[Named]


class Base64(BaseModel):
    model_config = ConfigDict(val_json_bytes="base64")

    raw: bytes


ID = "12345678-1234-5678-1234-567812345678"
DAY = datetime.date(2024, 1, 2)
STRICT = f"""dict(
    level='low', day='2024-01-02', id='{ID}', price='1.10', raw=b'ab', count=2**100, tags=['a']
)"""
COUNTED = {"type": "object", "properties": {"n": {"type": "integer"}}}
FITTING = {
    "a strict model": (
        Strict,
        STRICT,
        Strict(
            level=Level.LOW,
            day=DAY,
            id=uuid.UUID(ID),
            price=decimal.Decimal("1.10"),
            raw=b"ab",
            count=LONG,
            tags={"a"},
        ),
    ),
    "an address": (Link, "{'url': 'https://example.org/x'}", Link(url=HttpUrl("https://example.org/x"))),
    "a root model": (Numbers, "[1, 2]", Numbers([1, 2])),
    "a dataclass": (Stay, "{'city': 'Bern', 'until': '2024-01-02'}", Stay("Bern", DAY)),
    "a TypedDict": (Person, "{'born': '2024-01-02'}", {"born": DAY}),
    "nested aliases": (Group, "{'members': [{'firstName': 'Ann'}]}", Group(members=[Named(firstName="Ann")])),
    "a union": (Named | Numbers, "[3]", Numbers([3])),
    "a list of models": (list[Named], "[{'firstName': 'Ann'}]", [Named(firstName="Ann")]),
    "a plain date": (datetime.date, "'2024-01-02'", DAY),
    "an enum": (Level, "'low'", Level.LOW),
    "one of two words": (Literal["a", "b"], "'b'", "b"),
    "an integer as text in JSON": (int, f"'{LONG}'", LONG),
    "bytes that are no UTF-8": (Base64, r"{'raw': b'\xff\x00'}", Base64(raw="_wA=")),
    "nothing": (int | None, "None", None),
    "a schema with a long integer": (COUNTED, "{'n': -2**80}", {"n": -(2**80)}),
}  # fmt: skip


def build(form: Any, code: str, folder: Path, saver: Any = None) -> Any:
    model = ScriptedModel(lambda messages: f"```repl\nFINAL({code})\n```")
    return create_rlm_agent(model, response_format=form, checkpointer=saver, options=AgentOptions(contexts=folder))


@pytest.mark.parametrize(("form", "code", "value"), FITTING.values(), ids=FITTING.keys())
def test_what_fits_its_form_reaches_the_caller_and_is_read_back(
    form: Any, code: str, value: Any, tmp_path: Path
) -> None:
    config: Any = {"configurable": {"thread_id": "1"}}
    with SqliteSaver.from_conn_string(str(tmp_path / "runs.sqlite")) as saver:
        agent = build(form, code, tmp_path, saver)
        updates = [part["finalize"] for part in agent.stream({"question": "?"}, config) if "finalize" in part]
    with SqliteSaver.from_conn_string(str(tmp_path / "runs.sqlite")) as saver:
        state = build(form, code, tmp_path, saver).get_state(config).values

    assert state["answer"].complete
    assert state["structured_response"] == updates[-1]["structured_response"] == value
    assert type(state["structured_response"]) is type(value)


def test_an_answer_without_the_form_does_not_carry_the_one_before(tmp_path: Path) -> None:
    values = iter(["{'url': 'https://example.org'}", *["'unknown'"] * 9])
    model = ScriptedModel(lambda messages: f"```repl\nFINAL({next(values)})\n```")
    config: Any = {"configurable": {"thread_id": "1"}}
    with SqliteSaver.from_conn_string(str(tmp_path / "runs.sqlite")) as saver:
        agent = create_rlm_agent(
            model, response_format=Link, checkpointer=saver, options=AgentOptions(contexts=tmp_path)
        )
        first = agent.invoke({"question": "Where?"}, config)
        second = agent.invoke({"question": "And when?"}, config)
        kept = agent.get_state(config).values

    assert first["structured_response"] == Link(url=HttpUrl("https://example.org"))
    assert second["answer"].value == "unknown"
    assert "structured_response" not in second
    assert "structured_response" not in kept


WRONG = {
    "an unknown type": {"type": "nonsense"},
    "a property that is no schema": {"type": "object", "properties": {"a": "string"}},
    "required as a text": {"type": "object", "required": "a"},
    "a reference to nothing": {"type": "object", "properties": {"a": {"$ref": "#/$defs/A"}}},
    "a reference to elsewhere": {"$ref": "https://example.org/schema.json"},
    "a pattern that cannot be read": {"type": "string", "pattern": "("},
    "OpenAI's wrapping": {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}},
    "a named schema": {"name": "a", "schema": {"type": "object"}, "strict": True},
    "a tool": {"type": "function", "function": {"name": "a", "parameters": {"type": "object"}}},
    "a tool's parts": {"name": "a", "parameters": {"type": "object"}},
    "OpenAI's mode": {"type": "json_object"},
    "an example": {"name": "string", "age": "integer"},
    "a number": 42,
    "a function": len,
    "a class of no form": type,
}


@pytest.mark.parametrize("form", WRONG.values(), ids=WRONG.keys())
def test_a_form_that_is_wrong_in_itself_is_refused_when_the_agent_is_made(form: Any, tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="response_format"):
        build(form, "1", tmp_path)


@pytest.mark.parametrize(
    "form",
    [
        {"type": "number", "minimum": 0, "exclusiveMinimum": True},
        {"$schema": "http://json-schema.org/draft-07/schema#", "definitions": {"A": {}}, "$ref": "#/definitions/A"},
        {"type": "array", "items": [{"type": "string"}]},
        {},
    ],
)
def test_a_schema_of_an_older_draft_is_read_as_one(form: Any) -> None:
    assert AnswerFormat(form).schema == form


class Careless(BaseModel):
    n: int

    @field_validator("n")
    @classmethod
    def _known(cls, n: int) -> int:
        return {1: 1}[n]


def test_a_validator_that_raises_anything_is_words_for_the_model() -> None:
    form = AnswerFormat(Careless)

    assert "KeyError: 2" in (form.settle(FinalAnswer(value={"n": 2})).problem or "")
    assert form.settle(FinalAnswer(value={"n": 1})).problem is None


def test_what_is_exact_is_not_read_as_something_else() -> None:
    text = AnswerFormat(str).settle(FinalAnswer(value="b'x'"))
    choice = AnswerFormat(Literal["12345678901234567890"]).settle(FinalAnswer(value="12345678901234567890"))

    assert text.typed is not None
    assert text.typed.value == "b'x'"
    assert choice.problem is None
