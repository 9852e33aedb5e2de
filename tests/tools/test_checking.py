"""What `check_tool` tells of a tool."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.tools import StructuredTool, tool

from rlm_graph.testing import check_tool


@tool
async def area(width: float, height: float = 1.0) -> dict[str, float]:
    """Return the area of a rectangle."""
    if width < 0:
        raise ValueError("a width is not negative")
    return {"area": width * height}


def untyped(value) -> str:  # type: ignore[no-untyped-def]
    """Take anything."""
    return str(value)


def opaque() -> object:
    """Return what JSON does not hold."""
    return object()


def of_schema(schema: dict[str, Any], *, name: str = "page", description: str = "A page.") -> StructuredTool:
    return StructuredTool.from_function(lambda: "", name=name, description=description, args_schema=schema)


def test_a_good_tool_has_no_problems_and_is_called_with_its_examples() -> None:
    assert check_tool(area) == []
    assert check_tool(area, examples=[{"width": 2}, {"width": 2, "height": 3.5}]) == []


@pytest.mark.parametrize(
    ("given", "examples", "words"),
    [
        (area, [{"width": -1}], "area(width=-1) failed: area: a width is not negative"),
        (area, [{"width": "wide"}], "failed: area: width: Input should be a valid number"),
        (area, [{"breadth": 1}], "there is no argument 'breadth'"),
        (opaque, [{}], "opaque() returned a object, which code sees as text"),
        (untyped, None, "the argument value has no type"),
        (of_schema({}, name="FINAL"), None, "a name that the REPL has already"),
        (of_schema({}, name="größe"), None, "as providers want it"),
        (of_schema({}, description=" "), None, "no description"),
        (of_schema({"properties": {"a": {"type": "strng"}}}), None, "its schema cannot be used"),
        (of_schema({"properties": {"a-b": {"type": "string"}, "a_b": {"type": "string"}}}), None, "same name"),
        (lambda x: x, None, "cannot be made a tool"),
    ],
)
def test_what_is_wrong_is_told_in_a_line(given: Any, examples: Any, words: str) -> None:
    [problem] = check_tool(given, examples=examples)

    assert words in problem


async def test_examples_of_the_tools_own_are_used_inside_a_loop_too() -> None:
    stated = area.model_copy(update={"metadata": {"examples": [{"width": -3}]}})

    assert len(check_tool(stated)) == 1
