"""A LangChain tool as the function that code calls: its name, its parameters, and the words that describe it."""

from __future__ import annotations

import builtins
import keyword
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from langchain_core.tools import BaseTool, Tool, tool
from langchain_core.utils.function_calling import convert_to_openai_tool

from rlm_graph.errors import SetupError

RESERVED = frozenset({
    "BudgetExceeded", "FINAL", "FINAL_VAR", "IncompleteReply", "P", "SHOW_VARS", "SUBMIT", "SubcallError", "answer",
    "context", "contexts", "ctx", "final_answer", "lenP", "llm_query", "llm_query_batched", "memory", "peek", "python",
    "rlm_batch_complete", "rlm_forget", "rlm_notes", "rlm_query", "rlm_query_batched", "rlm_recall", "rlm_remember",
    "rlm_sub_complete", "tail",
})  # fmt: skip
"""Names that the REPL, or a model that calls tools, has already."""

MAX_DEFAULT_CHARS = 40
"""A default value that is longer when written down is shown as `None`: leaving the argument out means the same."""

_TYPES = {
    "string": "str", "integer": "int", "number": "float", "boolean": "bool", "array": "list", "object": "dict",
    "null": "None",
}  # fmt: skip


@dataclass(frozen=True)
class HostFunction:
    """A tool under the name that code calls it by. Names that Python does not allow (`get-page`) are made to fit."""

    tool: BaseTool

    @cached_property
    def name(self) -> str:
        """The tool's own name, with `_` for each character that no Python name has."""
        return python_name(self.tool.name)

    @cached_property
    def schema(self) -> dict[str, Any]:
        """JSON schema of the arguments."""
        if isinstance(self.tool, Tool) and self.tool.args_schema is None:
            return {"type": "object", "properties": self.tool.args, "required": list(self.tool.args)}
        parameters: dict[str, Any] = convert_to_openai_tool(self.tool)["function"].get("parameters") or {}
        return {"type": "object", "properties": {}, **parameters}

    @cached_property
    def parameters(self) -> Mapping[str, str]:
        """The tool's own parameter for each that code may name, those that must be given first."""
        names = list(self.schema["properties"])
        return {python_name(name): name for name in sorted(names, key=lambda name: name not in self.required)}

    @cached_property
    def required(self) -> frozenset[str]:
        """The tool's own parameters that must be given."""
        return frozenset(self.schema.get("required", ()))

    @property
    def signature(self) -> str:
        """The call as code writes it, with types: `search(query: str, limit: int = 10)`."""
        return f"{self.name}({', '.join(self._parameter(*names) for names in self.parameters.items())})"

    @property
    def description(self) -> str:
        """What the tool does, and what its parameters mean where the tool's own words do not say it."""
        words = self.tool.description.strip()
        told = (
            f"{name}: {self.schema['properties'][own]['description']}"
            for name, own in self.parameters.items()
            if self.schema["properties"][own].get("description") not in (None, "")
        )
        return "\n".join([words, *(line for line in told if line.partition(": ")[2] not in words)]).strip()

    @property
    def openai(self) -> dict[str, Any]:
        """The tool in OpenAI's form, for models that call tools themselves."""
        function = {"name": self.name, "description": self.description, "parameters": self.schema}
        return {"type": "function", "function": function}

    @property
    def version(self) -> str:
        """The version that the tool states in its metadata; empty if it states none."""
        return str((self.tool.metadata or {}).get("version", ""))

    def _parameter(self, name: str, own: str) -> str:
        schema = self.schema["properties"][own]
        described = f"{name}: {_annotation(schema)}"
        return described if own in self.required else f"{described} = {_default(schema.get('default'))}"


def host_functions(given: Iterable[BaseTool | Callable[..., Any]]) -> dict[str, HostFunction]:
    """Return the functions by the names that code calls them by.

    Raises `SetupError` for what is no tool, and for a name that is taken.
    """
    functions: dict[str, HostFunction] = {}
    for each in given:
        function = HostFunction(as_tool(each))
        if problem := name_problem(function.name):
            raise SetupError(f"tool {function.tool.name!r}: {problem}; give the tool another name")
        if function.name in functions:
            raise SetupError(f"two tools are named {function.name!r}; give one of them another name")
        functions[function.name] = function
    return functions


def retrieval_of(functions: Mapping[str, HostFunction], name: str | None) -> HostFunction | None:
    """Return the tool that answers `context_query`: the one of that name, by default `search` if it is there.

    Its first argument takes the query. Raises `SetupError` if there is no such tool, or it takes none.
    """
    function = functions.get(name or "search")
    if name is not None and function is None:
        raise SetupError(f"retrieval: the run has no tool {name!r}; it has: {', '.join(functions) or 'none'}")
    if function is not None and (not function.parameters or len(function.required) > 1):
        if name is None:
            return None
        raise SetupError(f"retrieval: {function.signature} cannot be called with a query alone")
    return function


def name_problem(name: str) -> str | None:
    """Say why no tool can have that name; None if one can."""
    if not name.isidentifier() or keyword.iskeyword(name):
        return f"{name!r} is no Python name"
    if name in RESERVED:
        return f"{name!r} is a name that the REPL has already"
    return f"{name!r} is a name of Python's own" if hasattr(builtins, name) else None


def python_name(name: str) -> str:
    """Return `name` with `_` in the place of what no Python name may hold."""
    fitting = re.sub(r"\W", "_", name)
    return f"{fitting}_" if keyword.iskeyword(fitting) else f"_{fitting}" if fitting[:1].isdigit() else fitting


def as_tool(given: Any) -> BaseTool:
    """Make a tool of a function with a docstring, and leave one as it is. Raises `SetupError` for anything else."""
    if isinstance(given, BaseTool):
        return given
    if not callable(given):
        raise SetupError(f"{given!r} is no tool; give a LangChain tool, or a function with a docstring")
    try:
        made: BaseTool = tool(given)
    except (ValueError, TypeError, AttributeError, NameError) as error:
        name = getattr(given, "__name__", repr(given))
        raise SetupError(f"{name} cannot be made a tool: {error}") from error
    return made


def _annotation(schema: Any) -> str:
    if not isinstance(schema, Mapping):
        return "Any"
    if "enum" in schema:
        return f"Literal[{', '.join(map(repr, schema['enum']))}]"
    choices = schema.get("anyOf") or schema.get("oneOf")
    if choices:
        return " | ".join(dict.fromkeys(map(_annotation, choices)))
    kind = schema.get("type")
    if isinstance(kind, list):
        return " | ".join(_TYPES.get(each, "Any") for each in kind)
    if kind == "array" and schema.get("items"):
        return f"list[{_annotation(schema['items'])}]"
    return _TYPES.get(str(kind), "Any")


def _default(value: Any) -> str:
    plain = isinstance(value, bool | int | str) or (isinstance(value, float) and value - value == 0)
    return repr(value) if plain and len(repr(value)) <= MAX_DEFAULT_CHARS else "None"
