"""An answer claimed in prose: `FINAL(...)`, `FINAL_VAR(...)`, `FINAL: ...`, or dspy's `SUBMIT(...)`."""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Collection

from rlm_graph.parsing.block import Block, Broken, Final, FinalExpression
from rlm_graph.parsing.literals import value_of
from rlm_graph.parsing.lookahead import Lookahead
from rlm_graph.parsing.source import parsed

HEAD = re.compile(r"(?:\#{1,6}[ \t]+)?[*_`]{0,3}(FINAL_VAR|FINAL|SUBMIT)[*_`]{0,3}[ \t]*+[(（]")
COLON = re.compile(
    r"(?:\#{1,6}[ \t]+)?[*_`]{0,3}(?:FINAL(?:[ _]ANSWER)?|Final[ ][Aa]nswer)[*_`]{0,3}[ \t]*+[:：][*_`]{0,3}"
)
UNCLOSED = "FINAL( begins a line but nothing after it closes it; write FINAL(...) again, whole, on a line of its own."

_TAIL = re.compile(r"[ \t.*_`!;,。]*+(?=\n|\Z)")
_BRACKET = re.compile(r"[()（）]")
_OPENING_QUOTE = re.compile(r"""\s*+[rRbBuU]?("{3}|'{3}|["'“])""")
_END = r"\s*+,?\s*+[)）]"
_CLOSING = {
    quote: re.compile(rf"(?:[^\\{end[0]}]++|\\.|{end[0]}(?!{end[1:]}{_END}))*+{end}{_END}", re.DOTALL)
    for quote, end in {'"""': '"""', "'''": "'''", '"': '"', "'": "'", "“": "”"}.items()
}
_NAME = re.compile(r"""["'`]?([^\W\d]\w*)["'`]?\Z""")


def claim(text: str, start: int, lookahead: Lookahead, names: Collection[str]) -> tuple[Block, int] | None:
    """Read the claim that begins at `start`, and return it with the position after it.

    `names` are the variables of the REPL: an argument that is an expression over them is left for it to evaluate.
    None means that the line only mentions `FINAL`.
    """
    if head := HEAD.match(text, start):
        end = _argument_end(text, head.end(), lookahead)
        if end is None:
            rest = text[head.end() : head.end() + 200].split("\n", 1)[0]
            return None if ")" in rest else (Broken(UNCLOSED), head.end())
        argument = text[head.end() : end].strip()
        tail = _TAIL.match(text, end + 1)
        return _claimed(head[1], argument, names), tail.end() if tail else end + 1
    if head := COLON.match(text, start):
        rest = text[head.end() :] if lookahead.left else ""
        lookahead.spend(len(rest))
        answer = rest.strip().removesuffix("**").strip()
        return (Final(answer), head.end()) if answer else None
    return None


def _claimed(name: str, argument: str, names: Collection[str]) -> Block:
    named = _NAME.match(argument)
    if name == "FINAL_VAR" and named:
        return FinalExpression(f'FINAL_VAR("{named[1]}")')
    if not argument:
        return Broken(f"{name}() is empty; put the answer between its brackets.")
    if name == "SUBMIT" and _names_its_values(argument):
        return FinalExpression(f"SUBMIT({argument})")
    if _is_expression(argument, names, certain=name == "FINAL_VAR"):
        return FinalExpression(f"FINAL({argument})")
    return Final(value_of(argument))


def _names_its_values(argument: str) -> bool:
    tree = parsed(f"_({argument})")
    if tree is None or len(tree.body) != 1 or not isinstance(tree.body[0], ast.Expr):
        return False
    return isinstance(tree.body[0].value, ast.Call) and bool(tree.body[0].value.keywords)


def _is_expression(argument: str, names: Collection[str], *, certain: bool) -> bool:
    """Tell whether `argument` is Python for the REPL to evaluate: `certain` is the model's word that it is."""
    tree = parsed(f"_({argument})")
    if tree is None or len(tree.body) != 1 or not isinstance(tree.body[0], ast.Expr):
        return False
    nodes = list(ast.walk(tree.body[0]))
    used = {node.id for node in nodes if isinstance(node, ast.Name)} - {"_"}
    if any(isinstance(node, ast.JoinedStr) for node in nodes):
        return True
    if not used:
        return False
    return certain or (bool(used & set(names)) and all(name in names or hasattr(builtins, name) for name in used))


def _argument_end(text: str, start: int, lookahead: Lookahead) -> int | None:
    """Return where the bracket is that closes the argument at `start`; only a full stop or the like follows it."""
    if not lookahead.left:
        return None
    quote = _OPENING_QUOTE.match(text, start)
    end = _quoted_end(text, quote) if quote else None
    if end is None:
        end = _balanced_end(text, start)
    lookahead.spend((len(text) if end is None else end) - start)
    return end


def _quoted_end(text: str, quote: re.Match[str]) -> int | None:
    pos, limit = quote.end(), len(text)
    while close := _CLOSING[quote[1]].match(text, pos, limit):
        if _TAIL.match(text, close.end()):
            return close.end() - 1
        # A quote and a bracket may stand inside the text as well; only a pair at the end of this line is the end then.
        pos, limit = close.end(), _line_end(text, close.end())
    return None


def _balanced_end(text: str, start: int) -> int | None:
    depth = 1
    for bracket in _BRACKET.finditer(text, start):
        depth += 1 if bracket[0] in "(（" else -1
        if depth == 0:
            return bracket.start() if _TAIL.match(text, bracket.end()) else _last_bracket(text, start)
    return None


def _last_bracket(text: str, start: int) -> int | None:
    """Return the bracket at the line's end, if the line closes more brackets than it opens, as `a) one b) two)`."""
    line = text[start : _line_end(text, start)]
    trimmed = line.rstrip(" \t.*_`!;,。")
    if trimmed.endswith((")", "）")) and len(re.findall("[)）]", line)) > 1 + len(re.findall("[(（]", line)):
        return start + len(trimmed) - 1
    return None


def _line_end(text: str, start: int) -> int:
    end = text.find("\n", start)
    return len(text) if end < 0 else end
