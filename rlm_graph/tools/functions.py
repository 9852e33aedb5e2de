"""A LangChain tool as the function that code calls: its name, its parameters, and the words that describe it."""

from __future__ import annotations

import ast
import builtins
import hashlib
import keyword
import logging
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from langchain_core.tools import BaseTool, tool

from rlm_graph.errors import SetupError
from rlm_graph.json_schema import JSONSchema, UnusableSchema
from rlm_graph.tools.callables import by_field_name, callable_by_name
from rlm_graph.tools.schemas import is_open, offered_schema, written_schema

RESERVED = frozenset({
    "BudgetExceeded", "FINAL", "FINAL_VAR", "IncompleteReply", "P", "SHOW_VARS", "SUBMIT", "SubcallError", "answer",
    "context", "contexts", "ctx", "final_answer", "lenP", "llm_query", "llm_query_batched", "memory", "peek", "python",
    "rlm_batch_complete", "rlm_forget", "rlm_notes", "rlm_query", "rlm_query_batched", "rlm_recall", "rlm_remember",
    "rlm_sub_complete", "tail",
})  # fmt: skip
"""Names that the REPL, or a model that calls tools, has already."""

MAX_DEFAULT_CHARS = 40
"""A default value that is longer when written down is shown as `None`: leaving the argument out means the same."""

MORE = "more"
"""What `**` takes where a tool has arguments that its schema does not name."""
_OFFERED = re.compile(r"[A-Za-z0-9_]{1,64}")

_TYPES = {
    "string": "str", "integer": "int", "number": "float", "boolean": "bool", "array": "list", "object": "dict",
    "null": "None",
}  # fmt: skip


_PLAIN = (str, int, float, bool, type(None))


@dataclass(frozen=True)
class HostFunction:
    """A tool under the name that code calls it by. Names that Python does not allow (`get-page`) are made to fit."""

    tool: BaseTool
    renamed: str | None = None
    """The name in the place of the one that follows from the tool's, where that is another tool's."""

    @cached_property
    def name(self) -> str:
        """The tool's own name, with `_` for each character that no Python name has, and after one that is taken."""
        return self.renamed or function_name(self.tool.name)

    @cached_property
    def checked(self) -> JSONSchema:
        """The schema that calls are held to. Raises `UnusableSchema`."""
        return JSONSchema(self._written)

    @cached_property
    def schema(self) -> dict[str, Any]:
        """JSON schema of the arguments, as models are told: an object with properties."""
        return offered_schema(self.tool, self._written)

    @cached_property
    def _written(self) -> dict[str, Any]:
        return written_schema(self.tool)

    @property
    def is_open(self) -> bool:
        """Whether there may be arguments that the schema does not name."""
        return is_open(self.schema)

    @cached_property
    def parameters(self) -> Mapping[str, str]:
        """The tool's own parameter for each that code may name, those that must be given first."""
        names = list(self.schema["properties"])
        return distinct(sorted(names, key=lambda name: name not in self.required))

    @cached_property
    def required(self) -> frozenset[str]:
        """The tool's own parameters that must be given."""
        return frozenset(self.schema.get("required", ()))

    @property
    def signature(self) -> str:
        """The call as code writes it, with types: `search(query: str, limit: int = 10)`."""
        more = [f"**{MORE}"] if self.is_open and MORE not in self.parameters else []
        return f"{self.name}({', '.join([*(self._parameter(*names) for names in self.parameters.items()), *more])})"

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
        function = {"name": self.offered_name, "description": self.description, "parameters": self.schema}
        return {"type": "function", "function": function}

    @property
    def offered_name(self) -> str:
        """The name under which models that call tools find it: providers take ASCII alone, and 64 characters."""
        if _OFFERED.fullmatch(self.name):
            return self.name
        digest = hashlib.sha256(self.name.encode()).hexdigest()[:8]
        return f"{re.sub('[^A-Za-z0-9_]', '_', self.name)[:55]}_{digest}"

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

    A tool whose schema nothing can be checked against is left out, and named in the log as a warning. Raises
    `SetupError` for what is no tool, and for two tools of one name.
    """
    tools = [as_tool(each) for each in given]
    by_name = {each.name: each for each in tools}
    if len(by_name) < len(tools):
        twice = next(name for name, count in Counter(each.name for each in tools).items() if count > 1)
        raise SetupError(f"two tools are named {twice!r}; give one of them another name")
    functions: dict[str, HostFunction] = {}
    for name, own in distinct(by_name, function_name).items():
        function = HostFunction(by_name[own], renamed=name)
        problem = unusable(function)
        if problem is None:
            functions[name] = function
        else:
            logging.getLogger(__name__).warning("the tool %r is left out: %s", own, problem)
    return functions


def unusable(function: HostFunction) -> str | None:
    """Say why calls of the tool cannot be checked or written; None if they can."""
    try:
        if isinstance(function.tool.args_schema, dict):
            _ = function.checked
        ast.parse(f"def {function.signature}: ...")
    except UnusableSchema as error:
        return f"its schema cannot be used: {error}"
    except SyntaxError as error:
        return f"it cannot be written as a function: {error.msg}"
    except (RecursionError, KeyError, TypeError, ValueError, AttributeError) as error:
        return f"its arguments cannot be read: {type(error).__name__}: {error}"
    return None


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
    whole = unicodedata.normalize("NFKC", name)  # as Python reads the names that code writes
    fitting = "".join(char if f"_{char}".isidentifier() else "_" for char in whole) or "_"
    return f"{fitting}_" if keyword.iskeyword(fitting) else fitting if fitting.isidentifier() else f"_{fitting}"


def function_name(name: str) -> str:
    """Return `name` as that of a function of the REPL: with `_` after it where Python or the REPL has it already."""
    fitting = python_name(name)
    return f"{fitting}_" if name_problem(fitting) else fitting


def distinct(names: Iterable[str], fitted: Callable[[str], str] = python_name) -> dict[str, str]:
    """Return `names` by the Python names that they get, each another one, whatever order they come in.

    A name that fits as it is keeps itself; of others that would be the same, those that sort later get a number.
    """
    own = list(dict.fromkeys(names))
    given: dict[str, str] = {}
    for name in sorted(own, key=lambda name: (fitted(name) != name, name)):
        candidate, number = fitted(name), 1
        while candidate in given:
            number += 1
            candidate = f"{fitted(name)}_{number}"
        given[candidate] = name
    back = {name: candidate for candidate, name in given.items()}
    return {back[name]: name for name in own}


def as_tool(given: Any) -> BaseTool:
    """Make a tool of a function with a docstring, and leave one as it is. Raises `SetupError` for anything else."""
    if isinstance(given, BaseTool):
        return by_field_name(given)
    if not callable(given):
        raise SetupError(f"{given!r} is no tool; give a LangChain tool, or a function with a docstring")
    try:
        made: BaseTool = tool(callable_by_name(given))
    except (ValueError, TypeError, AttributeError, NameError) as error:
        name = getattr(given, "__name__", repr(given))
        raise SetupError(f"{name} cannot be made a tool: {error}") from error
    return made


def _annotation(schema: Any) -> str:
    if not isinstance(schema, Mapping):
        return "Any"
    if isinstance(schema.get("enum"), list) and all(isinstance(each, _PLAIN) for each in schema["enum"]):
        return f"Literal[{', '.join(map(repr, schema['enum']))}]"
    choices = schema.get("anyOf") or schema.get("oneOf")
    if isinstance(choices, list) and choices:
        return " | ".join(dict.fromkeys(map(_annotation, choices)))
    kind = schema.get("type")
    if isinstance(kind, list):
        return " | ".join(_TYPES.get(each, "Any") for each in kind)
    if kind == "array" and isinstance(schema.get("items"), Mapping) and schema["items"]:
        return f"list[{_annotation(schema['items'])}]"
    return _TYPES.get(str(kind), "Any")


def _default(value: Any) -> str:
    plain = isinstance(value, bool | int | str) or (isinstance(value, float) and value - value == 0)
    return repr(value) if plain and len(repr(value)) <= MAX_DEFAULT_CHARS else "None"
