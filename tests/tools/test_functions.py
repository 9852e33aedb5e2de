"""What code sees of a tool: a Python function, whatever the tool calls itself."""

from __future__ import annotations

import functools
from typing import Any, Literal

import pytest
from langchain_core.tools import BaseTool, StructuredTool, Tool, tool
from pydantic import BaseModel, Field

from rlm_graph.errors import SetupError
from rlm_graph.executors.sandbox.worker.calls import HostCalls
from rlm_graph.executors.sandbox.worker.namespace import Namespace, _stub
from rlm_graph.memory import NAMES
from rlm_graph.tools.functions import RESERVED, HostFunction, host_functions, name_problem


class Trip(BaseModel):
    days: int = Field(3, description="how long it takes")
    city: str = Field(description="where it goes")
    by: Literal["train", "bus"] = "train"
    stops: list[str] | None = None


@tool(args_schema=Trip)
def plan(days: int, city: str, by: str = "train", stops: list[str] | None = None) -> str:
    """Plan a trip."""
    return city


def nothing(**arguments: Any) -> str:
    return "nothing"


def of_schema(schema: dict[str, Any], name: str = "get-page") -> BaseTool:
    return StructuredTool.from_function(nothing, name=name, description="Get a page.", args_schema=schema)


def test_a_signature_has_types_and_what_must_be_given_first() -> None:
    [function] = host_functions([plan]).values()

    assert function.signature == (
        "plan(city: str, days: int = 3, by: Literal['train', 'bus'] = 'train', stops: list[str] | None = None)"
    )
    assert "days: how long it takes" in function.description


def test_names_that_python_does_not_allow_are_made_to_fit() -> None:
    schema = {"properties": {"page-size": {"type": "integer"}, "class": {"type": "string"}}, "required": ["class"]}
    [function] = host_functions([of_schema(schema)]).values()

    assert function.signature == "get_page(class_: str, page_size: int = None)"
    assert dict(function.parameters) == {"class_": "class", "page_size": "page-size"}


@pytest.mark.parametrize("schema", [{"type": "object"}, {"type": "object", "properties": {}}])
def test_a_tool_without_arguments_is_called_without_any(schema: dict[str, Any]) -> None:
    assert HostFunction(of_schema(schema)).signature == "get_page()"


def test_a_tool_of_one_text_takes_it() -> None:
    assert HostFunction(Tool("shout", str.upper, "Shout.")).signature == "shout(tool_input: str)"


@pytest.mark.parametrize("each", [plan, Tool("shout", str.upper, "Shout.")], ids=lambda each: each.name)
def test_the_sandbox_reads_every_signature_that_is_written(each: BaseTool) -> None:
    signature = HostFunction(each).signature

    stub = _stub(HostCalls(None), signature)  # type: ignore[arg-type]  # nothing is called

    assert stub.__name__ == each.name


def test_the_reserved_names_are_those_that_the_repl_has() -> None:
    names: dict[str, Any] = {}

    held = set(Namespace(names, HostCalls(None)).ours)  # type: ignore[arg-type]  # nothing is called

    assert held <= RESERVED
    assert RESERVED - held == {"python", "final_answer", *NAMES}


@pytest.mark.parametrize("name", ["llm_query", "FINAL", "print", "a b", "2nd", "class"])
def test_a_name_that_is_taken_or_none_is_told(name: str) -> None:
    assert name_problem(name) is not None


def undocumented(x: int) -> int:
    return x


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([of_schema({}, name="get_page"), of_schema({}, name="get_page")], "two tools are named 'get_page'"),
        ([undocumented], "undocumented cannot be made a tool"),
        ([functools.partial(print, 1)], "cannot be made a tool"),
        ([42], "42 is no tool"),
    ],
)
def test_what_cannot_be_a_function_of_the_repl_is_refused(given: list[Any], words: str) -> None:
    with pytest.raises(SetupError, match=words):
        host_functions(given)
