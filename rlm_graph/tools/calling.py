"""One call of a tool: arguments checked, errors in words, the result in a form that can be recorded and sent."""

from __future__ import annotations

import asyncio
import builtins
import json
from collections.abc import Iterable, Mapping
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.errors import GraphBubbleUp
from pydantic import JsonValue, ValidationError

from rlm_graph.bridge import in_thread
from rlm_graph.errors import RLMError
from rlm_graph.executors.sandbox.frames import MAX_VALUE_ITEMS
from rlm_graph.executors.sandbox.worker.values import TooManyValues, as_json
from rlm_graph.json_pieces import json_pieces, weight
from rlm_graph.json_schema import UnusableSchema
from rlm_graph.state import SubcallReply
from rlm_graph.surrogates import has_surrogates, whole
from rlm_graph.tools.functions import HostFunction
from rlm_graph.tools.shielding import ENDS, ToolExit, called, words_of

MAX_RESULT_BYTES = 8 << 20
"""The largest result, as JSON. It is recorded with the run, and code that wants more can ask in parts."""
MAX_RESULT_VALUES = MAX_VALUE_ITEMS
"""Values in the largest result."""
MAX_ON_LOOP = 1 << 17
"""Characters of a result, as JSON, that is read on the event loop: a larger one would hold it up."""
MAX_STEPS = 10_000
"""Steps of a graph that a tool runs, if the tool names no limit of its own."""
MAX_ERRORS = 5
"""Faults of one call's arguments that are told."""
MAX_WORDS = 2_000
"""Characters of an error that are told."""


async def use(
    function: HostFunction,
    arguments: Mapping[str, JsonValue],
    *,
    config: RunnableConfig | None = None,
    timeout_s: float | None = None,
) -> SubcallReply:
    """Call the tool and return what it answered, or the error that the code will see in its place.

    An interrupt of LangGraph's and an `RLMError` leave: they are the run's affair. So does `TimeoutError` after
    `timeout_s` seconds.
    """
    given = own_arguments(function, arguments)
    # Not on the loop: the schema may be a stranger's, and what it takes to check it is up to him.
    problem = await asyncio.to_thread(_problem, function, arguments, given)
    if problem is not None:
        return _failure(function, "ValueError", problem)
    if config is not None:
        # A run has no limit of steps, for its budget ends it. A graph that a tool runs has no such end.
        config = {**config, "recursion_limit": min(config.get("recursion_limit", MAX_STEPS), MAX_STEPS)}
    deadline = asyncio.timeout(timeout_s)
    try:
        async with deadline:
            result = await called(function.tool, given, config)
    except (GraphBubbleUp, RLMError):
        raise
    except ValidationError as error:
        found = ((fault["loc"], fault["msg"]) for fault in error.errors(include_url=False, include_input=False))
        return _failure(function, "ValueError", _listed(found))
    except ToolExit as error:
        return _failure(function, "RuntimeError", str(error))
    except Exception as error:  # a tool may raise anything, and all of it is for the code that called it
        if deadline.expired():
            raise
        kind, words = type(error).__name__, words_of(error)
        if not hasattr(builtins, kind):  # in the sandbox there is no such exception: its name goes into the words
            words = f"{kind}: {words}" if words else kind
        return _failure(function, kind, words or kind)
    try:
        if weight(result, MAX_ON_LOOP) < MAX_ON_LOOP:
            return _recordable(function, result)
        return await in_thread(_recordable, function, result)
    except ENDS as error:  # objects of a tool's own may raise anything where they are only looked at
        return _failure(function, "RuntimeError", f"the result cannot be read: {type(error).__name__}")


def own_arguments(function: HostFunction, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments that code gave under the names that the tool itself has for them."""
    named = {
        own: arguments[name]
        for name, own in function.parameters.items()
        # Models write null for what they leave out.
        if name in arguments and (arguments[name] is not None or own in function.required)
    }
    if not function.is_open:
        return named
    return named | {name: value for name, value in arguments.items() if name not in function.parameters}


def _problem(function: HostFunction, arguments: Mapping[str, Any], given: Mapping[str, Any]) -> str | None:
    unknown = [name for name in arguments if name not in function.parameters]
    if unknown and not function.is_open:
        there_are = ", ".join(function.parameters) or "none"
        return f"there is no argument {unknown[0]!r}; the arguments are: {there_are}"
    if not isinstance(function.tool.args_schema, dict):
        return None  # LangChain checks them against the model
    try:
        faults = function.checked.faults(given)
    except UnusableSchema as error:
        return f"the tool cannot be called: {error}"
    return _listed((fault.absolute_path, fault.message[:MAX_WORDS]) for fault in faults) or None


def _listed(faults: Iterable[tuple[Iterable[Any], str]]) -> str:
    lines = [f"{'.'.join(map(str, place))}: {words}" if place else words for place, words in faults]
    more = len(lines) - MAX_ERRORS
    return "; ".join([*lines[:MAX_ERRORS], *([f"and {more} more"] if more > 0 else [])])


def _recordable(function: HostFunction, result: Any) -> SubcallReply:
    try:
        value, _ = as_json(result, max_items=MAX_RESULT_VALUES)
    except TooManyValues:
        problem = f"the result holds more than {MAX_RESULT_VALUES:,} values; ask for less at once"
        return _failure(function, "ValueError", problem)
    text = "".join(json_pieces(value, ensure_ascii=False))
    # A lone surrogate has no UTF-8, which checkpoints are written in.
    encoded = text.encode("utf-8", "surrogatepass")
    if len(encoded) > MAX_RESULT_BYTES:
        problem = f"the result takes {len(encoded):,} bytes, more than {MAX_RESULT_BYTES:,}; ask for less at once"
        return _failure(function, "ValueError", problem)
    # As JSON, however deep it is nested.
    return SubcallReply(value=json.loads(whole(text)) if has_surrogates(text) else value)


def _failure(function: HostFunction, kind: str, problem: str) -> SubcallReply:
    return SubcallReply(error=f"{function.name}: {whole(problem)[:MAX_WORDS]}", error_type=kind)
