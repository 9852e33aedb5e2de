"""Expressions that do nothing but give a value: over Python's own types, whose methods nobody can replace."""

from __future__ import annotations

import ast
import builtins
import operator
from collections.abc import Callable, Mapping
from typing import Any

from rlm_graph.executors.sandbox.worker.context import Piece, Pieces, SharedPiece

MAX_CHARS = 1 << 20
"""Of a text that is worked out: a longer one would be in memory twice."""
MAX_ITEMS = 1_000
"""Values of a list or dict that is shown in a text."""
_MAX_BITS = 256

_TEXTS = (str, Piece, SharedPiece)
_NUMBERS = (int, float, bool)
_SCALARS = (*_TEXTS, *_NUMBERS, type(None))
_LISTED = (list, tuple, range, Pieces)
CONTAINERS = (*_LISTED, dict)
_ARITHMETIC: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}  # fmt: skip
_FUNCTIONS: dict[str, Callable[[Any], Any]] = {"len": len, "str": str, "repr": repr, "int": int}
_METHODS = frozenset({
    "strip", "lstrip", "rstrip", "lower", "upper", "title", "capitalize", "replace", "format", "join", "splitlines",
    "split",
})  # fmt: skip
_CONVERSIONS: dict[int, Callable[[Any], str]] = {ord("r"): repr, ord("s"): str, ord("a"): ascii}


class Unsure(Exception):
    """Whether the expression is such a one cannot be told."""


FAILURES = (
    Unsure, TypeError, ValueError, LookupError, ArithmeticError, AttributeError, RuntimeError, MemoryError,
)  # fmt: skip
"""What working out an expression raises: the code will see it for itself."""


class Pure:
    """Works out expressions over global names, and a loop's own."""

    def __init__(self, names: Mapping[str, Any], changing: frozenset[int]) -> None:
        """`changing` has the ids of objects that must not be looked into: the loop changes them."""
        self._names = names
        self._changing = changing
        self.own: dict[str, Any] = {}

    def bind(self, target: ast.expr, value: Any) -> None:
        """Give the names of a loop's target their values. Raises `FAILURES`."""
        if isinstance(target, ast.Name):
            self.own[target.id] = value
            return
        if type(value) not in (tuple, list) or not isinstance(target, (ast.Tuple, ast.List)):
            raise Unsure
        self._touch(value)
        if len(value) != len(target.elts):
            raise Unsure
        for each, item in zip(target.elts, value):  # noqa: B905  # `strict` needs Python 3.10
            self.bind(each, item)

    def value(self, node: ast.expr) -> Any:
        """Return the value of an expression: of one of Python's own types, exactly. Raises `FAILURES`."""
        work = getattr(self, f"_{type(node).__name__.lower()}", None)
        if work is None:
            raise Unsure
        value = work(node)
        self._touch(value)
        return value

    def is_python_s(self, name: str) -> bool:
        """Whether a name that is no variable means what it means in Python."""
        return name not in self.own and name not in self._names and hasattr(builtins, name)

    def _touch(self, value: Any) -> None:
        kind = type(value)
        if kind in CONTAINERS:
            if id(value) in self._changing:
                raise Unsure
        elif kind not in _SCALARS or (kind is int and value.bit_length() > _MAX_BITS):
            raise Unsure

    def _constant(self, node: ast.Constant) -> Any:
        return node.value

    def _name(self, node: ast.Name) -> Any:
        if node.id in self.own:
            return self.own[node.id]
        if node.id not in self._names:
            raise Unsure
        return self._names[node.id]

    def _joinedstr(self, node: ast.JoinedStr) -> str:
        return "".join([str(self.value(part)) for part in node.values])

    def _formattedvalue(self, node: ast.FormattedValue) -> str:
        value = self.value(node.value)
        spec = "" if node.format_spec is None else self.value(node.format_spec)
        convert = _CONVERSIONS.get(node.conversion)
        self._plain(value)
        return format(value if convert is None else convert(value), _short_spec(spec))

    def _plain(self, value: Any) -> None:
        """Refuse what holds anything but Python's own types, what the loop changes, and what would be long to show."""
        pending, seen = [value], 0
        while pending:
            each = pending.pop()
            seen += 1
            if seen > MAX_ITEMS:
                raise Unsure
            self._touch(each)
            if type(each) is Pieces or (type(each) in _TEXTS and len(each) > MAX_CHARS):
                raise Unsure
            if type(each) in (list, tuple):
                pending += each
            elif type(each) is dict:
                pending += [*each, *each.values()]

    def _binop(self, node: ast.BinOp) -> Any:
        left, right = self.value(node.left), self.value(node.right)
        numbers = type(left) in _NUMBERS and type(right) in _NUMBERS
        texts = type(left) in _TEXTS and type(right) in _TEXTS and isinstance(node.op, ast.Add)
        if not (numbers or texts):
            raise Unsure
        work = _ARITHMETIC.get(type(node.op))
        if work is None:
            raise Unsure
        if texts and len(left) + len(right) > MAX_CHARS:
            raise Unsure
        return work(left, right)

    def _unaryop(self, node: ast.UnaryOp) -> Any:
        value = self.value(node.operand)
        if type(value) not in _NUMBERS or not isinstance(node.op, ast.USub):
            raise Unsure
        return -value

    def _tuple(self, node: ast.Tuple) -> tuple[Any, ...]:
        return tuple([self.value(each) for each in node.elts])

    def _list(self, node: ast.List) -> list[Any]:
        return [self.value(each) for each in node.elts]

    def _subscript(self, node: ast.Subscript) -> Any:
        of = self.value(node.value)
        index = node.slice
        if isinstance(index, ast.Slice):
            ends = [None if each is None else self.value(each) for each in (index.lower, index.upper, index.step)]
            if not all(type(each) in (int, type(None)) for each in ends) or type(of) is dict:
                raise Unsure
            if len(range(*slice(*ends).indices(len(of)))) > MAX_CHARS:
                raise Unsure
            return of[slice(*ends)]
        at = self.value(index)
        if type(at) not in (_SCALARS if type(of) is dict else (int,)):
            raise Unsure
        if type(of) is dict and not all(type(key) in _SCALARS for key in of):
            raise Unsure  # such a key would be asked whether it is equal
        return of[at]

    def _call(self, node: ast.Call) -> Any:
        if node.keywords and not isinstance(node.func, ast.Attribute):
            raise Unsure
        arguments = [self.value(each) for each in node.args]
        named = {str(each.arg): self.value(each.value) for each in node.keywords}
        if isinstance(node.func, ast.Name):
            return self._called(node.func.id, arguments)
        if not isinstance(node.func, ast.Attribute):
            raise Unsure
        of = self.value(node.func.value)
        if type(of) not in _TEXTS or node.func.attr not in _METHODS:
            raise Unsure
        for each in [of, *arguments, *named.values()]:
            self._plain(each)
        if node.func.attr == "format" and (":" in of or "!" in of or "." in of):
            raise Unsure
        return getattr(str, node.func.attr)(of, *arguments, **named)

    def _called(self, name: str, arguments: list[Any]) -> Any:
        function = _FUNCTIONS.get(name)
        if function is None or len(arguments) != 1 or not self.is_python_s(name):
            raise Unsure
        if name in ("str", "repr"):
            self._plain(arguments[0])
        elif name == "int" and type(arguments[0]) not in (*_TEXTS, *_NUMBERS):
            raise Unsure
        return function(arguments[0])


def _short_spec(spec: Any) -> str:
    """Return a format that asks for no long text. Raises `Unsure`."""
    if type(spec) is not str or len(spec) > 20 or sum(map(str.isdigit, spec)) > 4:
        raise Unsure
    return spec
