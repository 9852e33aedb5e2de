"""Whether a tool keeps what a run relies on."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from langchain_core.tools import BaseTool

from rlm_graph import bridge
from rlm_graph.errors import RLMError, SetupError
from rlm_graph.executors.sandbox.worker.values import as_json
from rlm_graph.json_schema import JSONSchema, UnusableSchema
from rlm_graph.tools.calling import own_arguments, use
from rlm_graph.tools.functions import HostFunction, as_tool, name_problem, python_name, unusable

CALL_S = 60.0
"""Seconds that one example may take."""

_NATIVE_NAME = re.compile(r"[A-Za-z0-9_]{1,64}")


def check_tool(
    tool: BaseTool | Callable[..., Any], *, examples: Sequence[Mapping[str, Any]] | None = None
) -> list[str]:
    """Return what is wrong with a tool, in a line each; nothing if code and models can use it.

    It looks at the name, the description, the schema and the types. With `examples`, or examples in the tool's own
    `metadata["examples"]`, each a mapping of arguments, it calls the tool with them too: each must be answered without
    an error and with a value that JSON holds as it is.
    """
    try:
        function = HostFunction(as_tool(tool))
    except SetupError as error:
        return [str(error)]
    if problem := name_problem(python_name(function.tool.name)) or unusable(function):
        return [f"tool {function.tool.name!r}: {problem}"]
    problems = list(_problems(function))
    given = (function.tool.metadata or {}).get("examples", ()) if examples is None else examples
    if not problems and given:
        problems += bridge.run_blocking(_call_each(function, given))
    return problems


def _problems(function: HostFunction) -> Iterator[str]:
    if not _NATIVE_NAME.fullmatch(function.name):
        yield f"the name {function.name!r} is not of 1 to 64 letters, digits and _, as providers want it"
    if not function.tool.description.strip():
        yield "there is no description: write a docstring that says what it does and returns"
    try:
        JSONSchema(function.schema)
        json.dumps(function.schema, allow_nan=False)
    except (UnusableSchema, TypeError, ValueError) as error:
        yield f"its arguments have no JSON schema: {error}"
        return
    for name, own in function.parameters.items():
        schema = function.schema["properties"][own]
        if not {"$ref", "type", "anyOf", "oneOf", "allOf", "enum", "const"} & set(schema):
            yield f"the argument {name} has no type: annotate it with one that JSON has"
    for number, own in ((name, own) for name, own in function.parameters.items() if python_name(own) != name):
        yield f"two of its arguments have the same name in Python: {own!r} is {number}"


async def _call_each(function: HostFunction, examples: Sequence[Mapping[str, Any]]) -> list[str]:
    problems: list[str] = []
    for example in examples:
        call = f"{function.name}({', '.join(f'{name}={value!r}' for name, value in example.items())})"[:200]
        try:
            reply = await use(function, example, timeout_s=CALL_S)
            if reply.error is not None:
                problems.append(f"{call} failed: {reply.error}")
                continue
            result = await function.tool.ainvoke(own_arguments(function, example))
        except (RLMError, TimeoutError) as error:
            problems.append(f"{call} failed: {str(error) or 'it took too long'}")
            continue
        if not as_json(result)[1]:
            problems.append(f"{call} returned a {type(result).__name__}, which code sees as text; return JSON values")
    return problems
