"""Tool calls written as text: the forms of the vendors, all read into a name and its arguments.

The forms were taken from the chat templates and tool parsers of the models that write them:

| form | written by |
|---|---|
| `{"name": ..., "arguments": {...}}` or a list of them; also `parameters`, `input` | Hermes, Qwen, Llama, Granite |
| `<parameter name="code">...</parameter>`, `<parameter=code>...` | Claude, MiniMax, DeepSeek 3.2, Qwen3-Coder, Seed |
| `name<arg_key>code</arg_key><arg_value>...</arg_value>` | GLM |
| `name{...}`, `name[ARGS]{...}`, `name[CALL_ID]id[ARGS]{...}` | Mistral |
| `name<｜tool▁sep｜>{...}`, or `function<｜tool▁sep｜>name` and a JSON fence | DeepSeek |
| `functions.name:0<|tool_call_argument_begin|>{...}` | Kimi |
| `call:name{code:<|"|>...<|"|>}` | Gemma |
| `[name(code="...")]`, `name.call(code="...")` | Llama, LFM |
"""

from __future__ import annotations

import ast
import json
import re
from dataclasses import dataclass

from pydantic import JsonValue

from rlm_graph.parsing.literals import json_or_literal, value_of
from rlm_graph.parsing.source import parsed

PREFIX = r"(?:antml:|minimax:|seed:|steptml:|｜DSML｜|\|DSML\|)?"

_NAMED = re.compile(rf"""<{PREFIX}(?:invoke|function|tool)(?:=|\s+name\s*=\s*)["']?([\w.:-]++)["']?[^<>\n]*+>""", re.I)
_NAME_TAG = re.compile(r"<(tool_name|name|function_name)>\s*+([\w.:-]++)\s*+</\1>", re.I)
_PARAMETER = re.compile(
    rf"""<{PREFIX}(?:parameter|param|arg|argument)(?:=|\s+name\s*=\s*)["']?([\w.-]++)["']?[^<>\n]*+>"""
    rf"""((?:(?!</?{PREFIX}(?:parameter|param|arg|argument)\b).)*+)""",
    re.I | re.S,
)
_ARG_KEY = re.compile(r"<arg_key>([^<]*+)</arg_key>\s*+<arg_value>((?:(?!</arg_value>).)*+)", re.S)
_CHILD = re.compile(r"<(code|input|source|command|script|query|arguments|parameters|answer)>((?:(?!</\1>).)*+)", re.S)
_SEPARATOR = re.compile(r"<｜tool▁sep｜>|<\|tool_call_argument_begin\|>|\[ARGS\]|<tool_sep>")
_GEMMA = re.compile(r"\s*+call:([\w.-]++)\s*+\{(.*)\}", re.S)
_GEMMA_ARGUMENT = re.compile(r'(?<!\w)(\w++)\s*+:\s*+(?:<\|"\|>((?:(?!<\|"\|>).)*+)<\|"\|>|([^,<]*+))', re.S)
_NAME_AND_JSON = re.compile(r"\s*+([\w.-]++)\s*+(?=\{)")
_PYTHONIC = re.compile(r"\s*+\[?\s*+[A-Za-z_][\w.]*+\s*+\(")
_FENCE = re.compile(r"\s*+(`{3,}|~{3,})([^\n`]*+)\n(.*?)(?:\n[ \t]*+\1[`~]*+\s*+\Z|\Z)", re.S)
_CLOSER = re.compile(rf"</{PREFIX}(?:parameter|param|arg|function|invoke|tool_call)>\Z", re.I)
_DECODER = json.JSONDecoder(strict=False)
_NAMES = ("name", "tool", "tool_name", "function", "function_name", "action", "recipient_name")
_ARGUMENTS = ("arguments", "parameters", "input", "args", "kwargs", "tool_input", "action_input", "params")


@dataclass(frozen=True)
class Call:
    """A tool that a model calls. `arguments` is what it gave: mostly a dict, sometimes bare code."""

    name: str
    arguments: JsonValue


def read_calls(body: str, name: str = "") -> list[Call]:
    """Return the calls that `body` holds, in order; `name` is what its tag named. Empty if none can be read."""
    if not name and (nested := list(_NAMED.finditer(body))):
        ends = [tag.start() for tag in nested[1:]] + [len(body)]
        return [
            call for tag, end in zip(nested, ends, strict=True) for call in read_calls(body[tag.end() : end], tag[1])
        ]
    if not name and (tag := _NAME_TAG.search(body)):
        name, body = tag[2], body[: tag.start()] + body[tag.end() :]
    if name:
        return [Call(name, _arguments(body))]
    if keys := _ARG_KEY.findall(body):
        return [Call(body.split("<arg_key>", 1)[0].strip(), {key.strip(): value for key, value in keys})]
    if _SEPARATOR.search(body):
        return _separated(body)
    for read in (_json_calls, _gemma_call, _named_json, _pythonic_calls):
        if calls := read(body):
            return calls
    return []


def unfenced(body: str) -> tuple[str, str]:
    """Return the language and the text of the fence that `body` is, or no language and `body` itself."""
    fence = _FENCE.match(body)
    return (fence[2].strip(), fence[3]) if fence else ("", body)


def json_values(text: str) -> list[JsonValue]:
    """Return the JSON values that `text` begins with, one after another."""
    values: list[JsonValue] = []
    pos = 0
    try:
        while (pos := _skip(text, pos)) < len(text):
            value, pos = _DECODER.raw_decode(text, pos)
            values.append(value)
    except (ValueError, RecursionError):
        pass  # what follows the values is not JSON
    return values


def calls_of(value: JsonValue) -> list[Call]:
    """Return the calls that a JSON value stands for."""
    if isinstance(value, list):
        return [call for item in value if isinstance(item, dict) for call in calls_of(item)]
    if not isinstance(value, dict):
        return []
    inner = value.get("function")
    if isinstance(inner, dict):
        value = inner
    name = next((value[key] for key in _NAMES if isinstance(value.get(key), str)), None)
    given = next((value[key] for key in _ARGUMENTS if key in value), None)
    if not isinstance(name, str) or given is None:
        return []
    return [Call(name, given)]


def _arguments(body: str) -> JsonValue:
    if parameters := _PARAMETER.findall(body):
        return {key: _unwrapped(value) for key, value in parameters}
    values = json_values(unfenced(_unwrapped(body))[1])
    if len(values) == 1 and isinstance(values[0], dict):
        return values[0]
    if children := _CHILD.findall(body):
        inner = dict(children)
        container = inner.get("arguments", inner.get("parameters", inner.get("input")))
        if container is not None and not inner.keys() & {"code", "source", "command", "script"}:
            return _arguments(container)
        return {key: _unwrapped(value) for key, value in children}
    return _unwrapped(body)


def _separated(body: str) -> list[Call]:
    calls = []
    pieces = _SEPARATOR.split(body)
    name, rest = pieces[0].split("[CALL_ID]")[0].strip(), "".join(pieces[1:])
    if name == "function" or not name:
        name, _, rest = rest.strip().partition("\n")
    name = name.strip().split("\n")[-1].removeprefix("functions.").partition(":")[0]
    language, text = unfenced(rest)
    values = json_values(text)
    if len(values) == 1 and values[0] is not None:
        calls.append(Call(name, values[0]))
    elif name:
        calls.append(Call(name, text if language != "json" else rest))
    return calls


def _json_calls(body: str) -> list[Call]:
    text = unfenced(body)[1]
    values = json_values(text)
    if not values and text.lstrip().startswith(("{", "[{")):
        values = [json_or_literal(text)]
    return [call for value in values for call in calls_of(value)]


def _gemma_call(body: str) -> list[Call]:
    found = _GEMMA.match(body)
    if found is None:
        return []
    return [Call(found[1], {key: quoted or bare.strip() for key, quoted, bare in _GEMMA_ARGUMENT.findall(found[2])})]


def _named_json(body: str) -> list[Call]:
    calls = []
    pos = 0
    while head := _NAME_AND_JSON.match(body, pos):
        try:
            value, pos = _DECODER.raw_decode(body, head.end())
        except (ValueError, RecursionError):
            break
        calls.append(Call(head[1], value))
    return calls


def _pythonic_calls(body: str) -> list[Call]:
    if not _PYTHONIC.match(body):
        return []
    text = body.strip()
    tree = parsed(text)
    if tree is None or len(tree.body) != 1 or not isinstance(tree.body[0], ast.Expr):
        return []
    called = tree.body[0].value
    calls = []
    for node in called.elts if isinstance(called, ast.List) else [called]:
        if not isinstance(node, ast.Call) or node.args:
            return []
        target = node.func
        if isinstance(target, ast.Attribute) and target.attr == "call":
            target = target.value
        texts = {word.arg: ast.get_source_segment(text, word.value) for word in node.keywords}
        calls.append(
            Call(ast.unparse(target), {name: value_of(given) for name, given in texts.items() if name and given})
        )
    return calls


def _unwrapped(text: str) -> str:
    """Return the text within tags: without the line ends next to them, a CDATA section, or what closes outer tags."""
    for _ in range(4):
        text = text.rstrip()
        if closer := _CLOSER.search(text, max(0, len(text) - 40)):
            text = text[: closer.start()]
    if text.strip().startswith("<![CDATA["):
        text = text.strip().removeprefix("<![CDATA[").removesuffix("]]>")
    return text.strip("\n")


def _skip(text: str, pos: int) -> int:
    while pos < len(text) and text[pos] in " \t\n\r,;":
        pos += 1
    return pos
