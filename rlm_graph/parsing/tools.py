"""What a tool call asks for: code to run, an answer, or a function of the REPL."""

from __future__ import annotations

import json
import keyword
from collections.abc import Mapping

from pydantic import JsonValue

from rlm_graph.parsing.block import Block, Broken, Code, Final, FinalExpression
from rlm_graph.parsing.calls import Call
from rlm_graph.parsing.source import mended
from rlm_graph.state import Cell
from rlm_graph.surrogates import whole

PYTHON_LABELS = frozenset(
    [
        "repl",
        "python",
        "py",
        "python3",
        "py3",
        "ipython",
        "ipython3",
        "python2",
        "pycon",
        "jupyter",
        "tool_code",
        "python-repl",
        "python_repl",
    ]
)
BASH_LABELS = frozenset(["bash", "sh", "shell", "zsh"])

_PYTHON_TOOLS = PYTHON_LABELS | {
    "execute",
    "exec",
    "execute_code",
    "execute_python",
    "execute_ipython",
    "exec_python",
    "run",
    "run_code",
    "run_python",
    "run_cell",
    "code",
    "code_interpreter",
    "code_execution",
    "code_executor",
    "call_python_repl",
    "python_interpreter",
    "python_exec",
    "interpreter",
}
_BASH_TOOLS = BASH_LABELS | {"terminal", "execute_bash", "run_bash", "run_shell", "run_command", "run_shell_command"}
_FINAL_TOOLS = {"final", "final_answer", "submit", "submit_answer", "submit_final_answer", "answer", "finish"}
_CODE_ARGUMENTS = (
    "code",
    "source",
    "source_code",
    "python",
    "python_code",
    "script",
    "command",
    "cell",
    "input",
    "query",
)
_ANSWER_ARGUMENTS = ("answer", "final_answer", "value", "result", "text", "content", "output", "response")


def asked(call: Call) -> Block:
    """Return the cell or the answer that a call asks for.

    A call of any other tool becomes a cell that calls the function of that name and prints what it returns: in the REPL
    that is how tools are reached, and a name that is not there answers with its `NameError`.
    """
    name = call.name.strip().lower().rsplit(".", 1)[-1].replace("-", "_")
    arguments = _as_mapping(call.arguments)
    code = _text(arguments, _CODE_ARGUMENTS)
    if name in _FINAL_TOOLS or name == "final_var":
        return _answered(name, arguments)
    if name in _BASH_TOOLS and code is not None:
        return Code(Cell(code=whole(code).strip("\n"), language="bash"))
    if code is not None and (name in _PYTHON_TOOLS or isinstance(arguments.get("code"), str)):
        return Code(Cell(code=mended(whole(code))))
    function = call.name.strip().removeprefix("functions.")
    if (
        name in _PYTHON_TOOLS
        or name in _BASH_TOOLS
        or not _is_name(function)
        or not isinstance(call.arguments, Mapping)
    ):
        return Broken("The arguments of your tool call could not be read; write the code in a ```repl block instead.")
    if all(_is_name(key) for key in arguments):
        given = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
    else:
        given = f"**{arguments!r}"
    return Code(Cell(code=whole(f"print({function}({given}))")))


def _answered(name: str, arguments: Mapping[str, JsonValue]) -> Block:
    key = next((key for key in _ANSWER_ARGUMENTS if key in arguments), None)
    if key is None and len(arguments) == 1:
        key = next(iter(arguments))
    if key is None:
        return Final(dict(arguments)) if arguments else Broken("Your final answer was empty; give it as FINAL(...).")
    value = arguments[key]
    if name == "final_var" and isinstance(value, str) and value.isidentifier():
        return FinalExpression(f'FINAL_VAR("{value}")')
    return Final(value)


def _as_mapping(arguments: JsonValue) -> dict[str, JsonValue]:
    if isinstance(arguments, str):
        try:
            value = json.loads(arguments, strict=False)
        except (ValueError, RecursionError):
            value = None
        truncated = value is None and arguments.lstrip().startswith("{")
        arguments = value if isinstance(value, dict) else {} if truncated else {"code": arguments}
    return {str(key): value for key, value in arguments.items()} if isinstance(arguments, Mapping) else {}


def _text(arguments: Mapping[str, JsonValue], keys: tuple[str, ...]) -> str | None:
    values = [arguments[key] for key in keys if key in arguments]
    if not values and len(arguments) == 1:
        values = list(arguments.values())
    for value in values:
        if isinstance(value, list) and value and all(isinstance(line, str) for line in value):
            return "\n".join(str(line).rstrip("\n") for line in value)
        if isinstance(value, str) and value.strip():
            return value
    return None


def _is_name(text: str) -> bool:
    return text.isidentifier() and not keyword.iskeyword(text)
