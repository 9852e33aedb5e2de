"""Values that a model writes as text: JSON, Python literals, quoted strings."""

from __future__ import annotations

import ast
import json
import re

from pydantic import JsonValue

from rlm_graph.parsing.source import MAX_PARSED
from rlm_graph.surrogates import whole

_QUOTED = re.compile(r"""([rR]?)[bBuU]?(?:("{3}|'{3}|["'])(.*)\2|“(.*)”),?\Z""", re.DOTALL)
_ESCAPE = re.compile(r"""\\(\n|[abfnrtv\\'"]|x[\da-fA-F]{2}|u[\da-fA-F]{4}|U[\da-fA-F]{8}|[0-7]{1,3})""")
_SIMPLE = {"\n": "", "a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


def value_of(argument: str) -> JsonValue:
    """Return what an argument of a prose `FINAL` stands for: a JSON value or Python literal, or else its text.

    A number stays text unless its digits would come back the same, as `3.10` would not.
    """
    if quoted := _QUOTED.match(argument):
        text = quoted[4] if quoted[2] is None else quoted[3]
        return whole(text if quoted[1] else _ESCAPE.sub(_unescaped, text))
    value = json_or_literal(argument)
    if isinstance(value, dict | list | bool) or argument == "None":
        return value
    return value if isinstance(value, int | float) and json.dumps(value) == argument else argument


def json_or_literal(text: str) -> JsonValue:
    """Return the JSON value that `text` writes, as JSON or as a Python literal; None if it writes none."""
    try:
        value: JsonValue = json.loads(text, strict=False)
        return value
    except (ValueError, RecursionError):
        pass  # it may still be a Python literal
    if "\\" in text or len(text) > MAX_PARSED:  # a needless backslash makes the parser print a warning
        return None
    try:
        value = ast.literal_eval(text.strip())
        json.dumps(value, allow_nan=False)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        return None
    return value


def _unescaped(escape: re.Match[str]) -> str:
    code = escape[1]
    if code in _SIMPLE:
        return _SIMPLE[code]
    if code[0] in "xuU":
        point = int(code[1:], 16)
    elif code[0] in "01234567":
        point = int(code, 8)
    else:
        return code
    return chr(point) if point < 0x110000 else escape[0]
