"""What one call of a tool promises: arguments checked, errors in words, results that can be recorded."""

from __future__ import annotations

import asyncio
import datetime
from typing import Any

import pytest
from langchain_core.tools import StructuredTool, tool
from pydantic import BaseModel

from rlm_graph.errors import BudgetExceeded
from rlm_graph.tools import HostFunction, use
from rlm_graph.tools.calling import MAX_RESULT_BYTES


@tool
async def double(number: int, label: str = "n") -> dict[str, Any]:
    """Double a number."""
    await asyncio.sleep(0)
    return {label: 2 * number}


def returning(value: Any) -> HostFunction:
    def give() -> Any:
        """Give it."""
        if isinstance(value, Exception):
            raise value
        return value

    return HostFunction(tool(give))


async def test_an_asynchronous_tool_is_called_with_its_defaults() -> None:
    assert (await use(HostFunction(double), {"number": 4})).value == {"n": 8}
    assert (await use(HostFunction(double), {"number": 4, "label": None})).value == {"n": 8}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"number": "many"}, "number: Input should be a valid integer"),
        ({}, "number: Field required"),
        ({"number": 1, "unit": "m"}, "no argument 'unit'; the arguments are: number, label"),
    ],
)
async def test_arguments_that_do_not_fit_are_told_in_the_validators_words(arguments: Any, words: str) -> None:
    reply = await use(HostFunction(double), arguments)

    assert reply.error_type == "ValueError"
    assert reply.error is not None
    assert reply.error.startswith("double: ")
    assert words in reply.error


async def test_arguments_are_held_to_a_json_schema_too_and_reach_the_tool_under_its_own_names() -> None:
    def page(**arguments: Any) -> Any:
        return arguments

    schema = {
        "type": "object",
        "properties": {"page-size": {"type": "integer", "minimum": 1}, "query": {"type": "string"}},
        "required": ["query"],
    }
    function = HostFunction(StructuredTool.from_function(page, name="page", description="A page.", args_schema=schema))

    good = await use(function, {"query": "x", "page_size": 2})
    bad = await use(function, {"page_size": 0})

    assert good.value == {"query": "x", "page-size": 2}
    assert bad.error is not None
    assert "'query' is a required property" in bad.error
    assert "page-size: 0 is less than the minimum of 1" in bad.error


class Point(BaseModel):
    x: int
    y: int


@pytest.mark.parametrize(
    ("value", "recorded"),
    [
        (Point(x=1, y=2), {"x": 1, "y": 2}),
        ({3, 1, 2}, [1, 2, 3]),
        (datetime.date(2026, 1, 2), "2026-01-02"),
        (float("nan"), "NaN"),
        (1 << 80, str(1 << 80)),
        (b"\xff\x00", repr(b"\xff\x00")),
        ("half a \ud83d pair", "half a \ufffd pair"),
        ({"\udc00": ["\ud83d\ude00"]}, {"\ufffd": ["😀"]}),
    ],
)
async def test_a_result_of_any_type_gets_a_form_that_can_be_recorded(value: Any, recorded: Any) -> None:
    assert (await use(returning(value), {})).value == recorded


async def test_a_result_that_is_too_large_is_an_error_that_says_so() -> None:
    reply = await use(returning("x" * MAX_RESULT_BYTES), {})

    assert reply.value is None
    assert reply.error is not None
    assert "ask for less" in reply.error


async def test_an_exception_keeps_its_type_and_its_words_are_bounded() -> None:
    reply = await use(returning(LookupError("no such page\ud800" + "!" * 10_000)), {})

    assert reply.error_type == "LookupError"
    assert reply.error is not None
    assert reply.error.startswith("give: no such page\ufffd!!")
    assert len(reply.error) < 3_000


class Throttled(Exception):
    """An exception that no sandbox has."""


async def test_an_exception_of_the_tools_own_tells_its_name_in_words() -> None:
    assert (await use(returning(Throttled("in a minute")), {})).error == "give: Throttled: in a minute"


async def test_a_tool_that_never_answers_ends_at_the_deadline() -> None:
    @tool
    async def wait() -> None:
        """Wait for ever."""
        await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        await use(HostFunction(wait), {}, timeout_s=0.01)


async def test_a_timeout_of_the_tools_own_is_an_error_in_the_code() -> None:
    assert (await use(returning(TimeoutError()), {}, timeout_s=60)).error_type == "TimeoutError"


async def test_an_error_of_the_run_itself_leaves() -> None:
    with pytest.raises(BudgetExceeded):
        await use(returning(BudgetExceeded("max_tokens", spent=1, limit=1)), {})


async def test_a_pattern_that_never_ends_holds_nobody_up() -> None:
    """The schema is a stranger's, the argument was chosen by code: together they would match for ever."""
    schema = {"type": "object", "properties": {"a": {"type": "string", "pattern": "^(a|a)*$"}}, "required": ["a"]}
    called: list[object] = []
    function = HostFunction(
        StructuredTool.from_function(
            lambda **given: called.append(given), name="f", description="F.", args_schema=schema
        )
    )

    checking = asyncio.create_task(use(function, {"a": "a" * 60 + "b"}))
    turns = 0
    while not checking.done():
        turns += 1
        await asyncio.sleep(0.001)
    reply = await checking

    assert reply.error is not None
    assert "takes too long to match" in reply.error
    assert called == []
    assert turns > 10, "the loop went on meanwhile"


async def test_a_result_of_too_many_values_is_an_error_in_the_code() -> None:
    function = HostFunction(StructuredTool.from_function(lambda: [{}] * 600_000, name="f", description="F."))

    reply = await use(function, {})

    assert reply.error is not None
    assert "500,000 values" in reply.error
