"""Python source as models write it: where its strings end, whether it is Python, what to mend."""

from __future__ import annotations

import ast
import html
import re
from textwrap import dedent

from rlm_graph.parsing.content import INVISIBLE

MAX_PARSED = 200_000
"""Characters of the longest source that is parsed to learn what it is."""

_QUOTES = re.compile(r"""\#.*+ | \""" | ''' | "(?:[^"\\]|\\.)*+"?+ | '(?:[^'\\]|\\.)*+'?+""", re.VERBOSE)
_TRIPLE_END = {mark: re.compile(rf"(?:[^\\]|\\.|\\\Z)*?{mark}") for mark in ('"""', "'''")}
_BLANK_START = re.compile(r"\A(?:[ \t]*+\n)++")
_ESCAPE = re.compile(r"\\(?!\n)[\x00-\x7f]?")
_PROMPT = re.compile(r"[ \t]*(?:>>>|\.\.\.)(?: |$)")

_LITERAL = (
    r'"""(?:[^\\]|\\.)*?(?:"""|\Z)' + r"|'''(?:[^\\]|\\.)*?(?:'''|\Z)"
    r'|"(?:[^"\\\n]|\\.)*+"?+' + r"|'(?:[^'\\\n]|\\.)*+'?+" + r"|\#[^\n]*+"
)  # fmt: skip
_NEVER_PYTHON = {
    **dict.fromkeys(INVISIBLE, ""),
    **dict.fromkeys("\u00a0\u3000\u2007\u202f", " "),
    **dict(zip("（）［］｛｝，：＝", "()[]{},:=", strict=True)),
}
_STRAY = re.compile(f"({_LITERAL})|[{re.escape(''.join(_NEVER_PYTHON))}]", re.DOTALL)


def open_string(line: str, mark: str | None) -> str | None:
    """Return the quotes of the triple-quoted string that is open after `line`, if `mark` was open before it."""
    pos = 0
    while True:
        if mark is not None:
            end = _TRIPLE_END[mark].match(line, pos)
            if end is None:
                return mark
            pos, mark = end.end(), None
        start = _QUOTES.search(line, pos)
        if start is None:
            return None
        pos = start.end()
        if start[0] in _TRIPLE_END:
            mark = start[0]


def parsed(code: str) -> ast.Module | None:
    """Return the syntax tree of `code`, or None if it is not Python or too long to tell.

    Its positions are those of `code`, but the strings in it are not: read them from the source.
    """
    if len(code) > MAX_PARSED:
        return None
    try:
        # A needless backslash makes the parser print a warning, and what an escape stands for is of no interest here.
        return ast.parse(_ESCAPE.sub(lambda escape: "_" * len(escape[0]), code))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def is_python(code: str) -> bool:
    """Tell whether `code` is Python that does something, rather than a word or a table that happens to parse."""
    tree = parsed(code)
    return tree is not None and any(_acts(node) for node in ast.walk(tree))


def mended(code: str) -> str:
    """Return `code` as it was meant: dedented, without prompts, and without characters that Python never accepts.

    Strings and comments keep every character. Entities (`&lt;`) are resolved only where that makes Python of it.
    """
    code = _BLANK_START.sub("", code).rstrip()
    if code[:1] in (" ", "\t"):
        code = dedent(code)
    if code.startswith(">>>"):
        code = "\n".join(_PROMPT.sub("", line, count=1) for line in code.split("\n") if _PROMPT.match(line))
    if not code.isascii():
        code = _STRAY.sub(lambda found: found[1] or _NEVER_PYTHON.get(found[0], found[0]), code)
    if "&" in code and parsed(code) is None and parsed(html.unescape(code)) is not None:
        code = html.unescape(code)
    return code


def _acts(node: ast.AST) -> bool:
    match node:
        case ast.AnnAssign(value=None):
            return False
        case ast.Call() | ast.Assign() | ast.AugAssign() | ast.AnnAssign() | ast.NamedExpr():
            return True
        case ast.Import() | ast.ImportFrom() | ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            return True
        case ast.Delete() | ast.Await():
            return True
    return False
