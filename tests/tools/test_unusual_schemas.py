"""Tools whose schemas are legal but unusual work, or are left out and named; never does one take the run with it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import pytest
from langchain_core.tools import BaseTool, StructuredTool
from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from rlm_graph.executors.sandbox.worker.namespace import _stub
from rlm_graph.settings import MCPSettings, ToolSettings
from rlm_graph.tools import HostFunction, OfferedTools, host_functions, use
from rlm_graph.tools.mcp import MCPServers
from rlm_graph.tools.registry import tool_statuses

LISTING = Path(__file__).with_name("mcp_listing.py")


def an_object(properties: Any, **more: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, **more}


def tool_of(schema: Any, name: str = "q") -> BaseTool:
    return StructuredTool.from_function(lambda **given: given, name=name, description="d", args_schema=schema)


class Asked:
    """Host calls of the sandbox, written down: code's own call of a stub."""

    def ask(self, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        return arguments


async def called(function: HostFunction, *args: Any, **kwargs: Any) -> Any:
    """Call the function as code does, through its signature in the sandbox."""
    stub = _stub(Asked(), function.signature)  # type: ignore[arg-type]  # what is asked for is all that matters
    reply = await use(function, json.loads(json.dumps(stub(*args, **kwargs))))
    assert reply.error is None, reply.error
    return reply.value


TEXT, NUMBER, LIST = {"type": "string"}, {"type": "integer"}, {"type": "array"}
NODE = an_object({"below": {"type": "array", "items": {"$ref": "#/$defs/Node"}}})
WORKING: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "a property true": (an_object({"key": TEXT, "value": True}, required=["key"]), {"key": "k", "value": 1}),
    "a property false": (an_object({"key": TEXT, "old": False}), {"key": "k"}),
    "items true": (an_object({"v": {**LIST, "items": True}}), {"v": [1]}),
    "a tuple": (an_object({"v": {**LIST, "prefixItems": [NUMBER, True], "items": False}}), {"v": [1, "a"]}),
    "a tuple of draft 7": (an_object({"v": {**LIST, "items": [NUMBER, True]}}), {"v": [1, "a"]}),
    "exclusiveMinimum of draft 4": (an_object({"n": {**NUMBER, "minimum": 0, "exclusiveMinimum": True}}), {"n": 1}),
    "definitions": (an_object({"v": {"$ref": "#/definitions/A"}}, definitions={"A": NUMBER}), {"v": 1}),
    "a schema in itself": ({**NODE, "$defs": {"Node": NODE}}, {"below": [{"below": []}]}),
    "all of it elsewhere": ({"$ref": "#/$defs/A", "$defs": {"A": an_object({"n": {}}, required=["n"])}}, {"n": 1}),
    "all in parts": ({"allOf": [an_object({"n": NUMBER}), an_object({"m": {}})]}, {"n": 1, "m": 2}),
    "one of two": ({"anyOf": [an_object({"n": {}}, required=["n"]), an_object({"m": {}}, required=["m"])]}, {"m": 2}),
    "demanded and not described": (an_object({}, required=["n"]), {"n": 1}),
    "a pattern of JavaScript": (an_object({"v": {"type": "string", "pattern": r"^\p{L}+$"}}), {"v": "x"}),
    "a choice of objects": (an_object({"v": {"enum": [{"x": 1}, None, "b"]}}), {"v": "b"}),
    "open": (an_object({}, additionalProperties=True), {"anything": 1}),
    "no properties": ({"type": "object"}, {}),
    "nothing at all": ({}, {}),
    "an empty list for none": (an_object([]), {}),
}  # fmt: skip


@pytest.mark.parametrize(("schema", "arguments"), WORKING.values(), ids=WORKING.keys())
async def test_a_legal_schema_is_called_as_it_says(schema: Any, arguments: dict[str, Any]) -> None:
    [function] = host_functions([tool_of(schema)]).values()

    assert await called(function, **arguments) == arguments
    assert all(isinstance(each, dict) for each in function.openai["function"]["parameters"]["properties"].values())


UNUSABLE = {
    "a reference to elsewhere": an_object({"p": {"$ref": "https://example.org/s.json"}}),
    "a reference to nothing": an_object({"p": {"$ref": "#/$defs/P"}}),
    "an unknown type": an_object({"p": {"type": "strng"}}),
    "properties of another kind": an_object("none"),
}


@pytest.mark.parametrize("schema", UNUSABLE.values(), ids=UNUSABLE.keys())
def test_a_tool_that_cannot_be_called_is_left_out_and_named(schema: Any, caplog: pytest.LogCaptureFixture) -> None:
    functions = host_functions([tool_of(schema, "bad"), tool_of({}, "good")])

    assert "'bad' is left out" in caplog.text
    assert list(functions) == ["good"]


async def test_names_that_clash_are_told_apart_whatever_the_order() -> None:
    names = ["a-b", "a_b", "a b", "class", "print", "llm_query", "1st", "ﬁx", "größe"]
    schema = an_object({name: {} for name in [*names, ""]})
    for order in (names, names[::-1]):
        functions = host_functions([tool_of(schema, name) for name in order])

        assert {name: function.tool.name for name, function in functions.items()} == {
            "a_b": "a_b", "a_b_2": "a b", "a_b_3": "a-b", "class_": "class", "print_": "print", "_1st": "1st",
            "llm_query_": "llm_query", "fix": "ﬁx", "größe": "größe",
        }  # fmt: skip
        assert await called(functions["a_b"], a_b=1, a_b_2=2, class_=3, print=4, _=5) == {
            "a_b": 1, "a b": 2, "class": 3, "print": 4, "": 5,
        }  # fmt: skip


def test_models_that_call_tools_are_offered_names_that_providers_take() -> None:
    functions = host_functions([tool_of({}, "größe"), tool_of({}, "x" * 80), tool_of({}, "plain")])
    offered = OfferedTools(functions)
    names = [each["function"]["name"] for each in offered.definitions[4:]]

    assert all(name.isascii() and len(name) <= 64 for name in names)
    assert [offered.hosts[name] for name in names] == list(functions)
    assert "plain" in names


def add(a: int, b: int = 2, /, *more: int, c: int = 0, **options: str) -> str:
    """Add."""
    return repr((a, b, more, c, options))


async def aadd(a: int, b: int, /) -> int:
    """Add."""
    return a + b


@pytest.mark.parametrize(
    ("function", "args", "kwargs", "value"),
    [
        (add, (1,), {}, "(1, 2, (), 0, {})"),
        (add, (1, 3), {"more": [4, 5], "c": 6, "options": {"x": "y"}}, "(1, 3, (4, 5), 6, {'x': 'y'})"),
        (aadd, (1, 2), {}, 3),
    ],
)
async def test_a_function_with_any_parameters_is_a_tool(
    function: Callable[..., Any], args: Any, kwargs: Any, value: Any
) -> None:
    [made] = host_functions([function]).values()

    assert await called(made, *args, **kwargs) == value


class Greeting(BaseModel):
    model_config = ConfigDict(extra="forbid")

    first_name: str = Field(alias="firstName")
    times: Annotated[int, Field(gt=0)] = Field(1, validation_alias=AliasChoices("nTimes", "n"))


class Shouted(BaseModel):
    model_config = ConfigDict(alias_generator=str.upper)

    word: str


async def test_arguments_with_aliases_are_given_by_the_names_of_the_fields() -> None:
    greet = StructuredTool.from_function(
        lambda first_name, times=1: first_name * times, name="greet", description="d", args_schema=Greeting
    )
    shout = StructuredTool.from_function(lambda word: word, name="shout", description="d", args_schema=Shouted)
    functions = host_functions([greet, shout])

    assert await called(functions["greet"], "ab") == "ab"
    assert await called(functions["greet"], first_name="ab", times=2) == "abab"
    assert "greater than 0" in str((await use(functions["greet"], {"first_name": "a", "times": 0})).error)
    assert await called(functions["shout"], word="x") == "x"


def listing(tools: list[dict[str, Any]]) -> MCPSettings:
    return MCPSettings(command=sys.executable, args=(str(LISTING), json.dumps(tools)))


LISTED: list[dict[str, Any]] = [
    {"name": "none"},
    {"name": "null", "inputSchema": None},
    {"name": "true", "inputSchema": True},
    {"name": "empty", "inputSchema": {}, "description": None, "outputSchema": []},
    {"name": "php", "inputSchema": {"type": "object", "properties": [], "required": None}},
    {"name": "get-x", "inputSchema": {"type": "object"}},
    {"name": "get_x", "inputSchema": {"type": "object"}},
    {"name": "get_x", "inputSchema": {"type": "object"}},
    {"name": "far", "inputSchema": {"type": "object", "properties": {"p": {"$ref": "https://example.org/s"}}}},
    {"description": "nameless"},
]


async def test_a_server_with_odd_tools_keeps_those_that_can_be_called(caplog: pytest.LogCaptureFixture) -> None:
    with MCPServers({"s": listing(LISTED)}) as servers:
        functions = host_functions(servers.tools())

        assert "MCP server s: the tool 'far' is left out" in caplog.text
        assert list(functions) == ["s_none", "s_null", "s_true", "s_empty", "s_php", "s_get_x_2", "s_get_x"]
        for name, own in {"s_none": "none", "s_php": "php", "s_get_x": "get_x", "s_get_x_2": "get-x"}.items():
            assert json.loads(await called(functions[name])) == {"name": own, "arguments": {}}


def test_what_is_left_out_is_among_the_tools_that_are_shown() -> None:
    settings = ToolSettings(mcp={"s": listing(LISTED)})

    [far] = [row for row in tool_statuses(settings) if row.name == "far"]

    assert far.function is None
    assert "https://example.org/s" in far.problems[0]
