"""Loops of calls that do not depend on one another: found in a cell's syntax tree, and told where they begin."""

from __future__ import annotations

import ast
import contextlib
from collections.abc import Sequence
from typing import Any, NamedTuple

ASKS = frozenset({"llm_query", "rlm_sub_complete"})
"""The names of the function whose calls are begun ahead."""
_OPTIONS = frozenset({"prompt", "model", "system", "max_tokens"})
BUILTINS = frozenset({
    "print", "len", "str", "int", "float", "bool", "repr", "min", "max", "sum", "sorted", "round", "abs", "list",
    "tuple", "dict", "set",
})  # fmt: skip
"""Functions that the body of such a loop may call."""
_NAMED = frozenset({"sep", "end", "flush", "start", "reverse", "default", "ndigits"})
"""What the body may give them by name: no function, which they would call."""
_MUTATING = frozenset({"append", "extend", "add", "update", "insert", "setdefault"})
_METHODS = _MUTATING | {
    "strip", "lstrip", "rstrip", "lower", "upper", "title", "capitalize", "split", "rsplit", "splitlines", "replace",
    "startswith", "endswith", "join", "format", "get", "items", "keys", "values", "count", "find", "index", "isdigit",
    "removeprefix", "removesuffix", "partition", "rpartition",
}  # fmt: skip
_CONSUMERS = frozenset({"list", "tuple", "set"})
"""Functions that take all that a generator gives."""
_EXPRESSIONS = (
    ast.Constant, ast.Name, ast.JoinedStr, ast.FormattedValue, ast.BinOp, ast.UnaryOp, ast.Compare, ast.BoolOp,
    ast.IfExp, ast.Tuple, ast.List, ast.Dict, ast.Set, ast.Subscript, ast.Slice, ast.Call, ast.keyword, ast.operator,
    ast.unaryop, ast.cmpop, ast.boolop, ast.expr_context,
)  # fmt: skip
MARK = "\0rlm-graph: calls of this loop are begun ahead\0"
"""Begins the constant that stands before what a loop goes over, until the code is compiled."""


class Loop(NamedTuple):
    """What is known of a loop whose calls may be begun ahead."""

    target: ast.expr
    before: Sequence[tuple[str, ast.expr]]
    """What the body assigns before its call and the call needs, in order."""
    call: ast.Call
    mutated: frozenset[str]
    """Names of the lists and dicts that the body changes."""
    stored: frozenset[str]
    """Names that the body assigns."""
    builtins: frozenset[str]
    """Names that have to be Python's own."""
    first: int | None
    """The number of the first element, if the loop counts them by `enumerate`."""


class _Unfit(Exception):
    """The loop may be none of those."""


def find_loops(tree: ast.Module) -> list[Loop]:
    """Return the loops of a cell outside of its functions, and put before what each goes over `MARK` and its index.

    `[…] @ values` is what then stands there; all else stays as it is, with its lines and columns.
    """
    finder = _Finder()
    with contextlib.suppress(RecursionError):  # of an expression that nests deep: what was found until then holds
        finder.visit(tree)
    return finder.found


class _Finder(ast.NodeTransformer):
    def __init__(self) -> None:
        self.found: list[Loop] = []

    def visit_FunctionDef(self, node: Any) -> Any:
        return node  # whose names are not the cell's

    visit_AsyncFunctionDef = visit_ClassDef = visit_Lambda = visit_GeneratorExp = visit_FunctionDef
    visit_AsyncFor = visit_FunctionDef

    def visit_For(self, node: ast.For) -> Any:
        if node.orelse or not self._take(node, node.body):
            return self.generic_visit(node)
        return node

    def visit_ListComp(self, node: Any) -> Any:
        self._take_comprehension(node, node.elt)
        return node

    visit_SetComp = visit_ListComp

    def visit_DictComp(self, node: ast.DictComp) -> Any:
        self._take_comprehension(node, node.key, node.value)
        return node

    def visit_Call(self, node: ast.Call) -> Any:
        given = node.args[0] if len(node.args) == 1 and not node.keywords else None
        function = node.func
        if isinstance(given, ast.GeneratorExp):
            if isinstance(function, ast.Name) and function.id in _CONSUMERS:
                self._take_comprehension(given, given.elt, needs=[function.id])
            elif isinstance(function, ast.Attribute) and function.attr == "join" and _is_text(function.value):
                self._take_comprehension(given, given.elt)
        return self.generic_visit(node)

    def _take_comprehension(self, node: Any, *elements: ast.expr, needs: Sequence[str] = ()) -> None:
        if len(node.generators) == 1 and not node.generators[0].ifs and not node.generators[0].is_async:
            body: list[ast.stmt] = [ast.Expr(element) for element in elements]
            self._take(node.generators[0], body, needs=needs)

    def _take(self, node: Any, body: Sequence[ast.stmt], *, needs: Sequence[str] = ()) -> bool:
        """Mark the loop, a `for` of a statement or of a comprehension, if it is such a one."""
        try:
            loop = _loop(node.target, body, needs)
        except _Unfit:
            return False
        values, first = _counted(node.iter)
        node.iter = self.visit(node.iter)
        mark = ast.Constant(f"{MARK}{len(self.found)}")
        if first is None:
            node.iter = _marked(mark, node.iter)
        else:
            node.iter.args[0] = _marked(mark, values)
            loop = loop._replace(builtins=loop.builtins | {"enumerate"}, first=first)
        self.found.append(loop)
        return True


def _marked(mark: ast.Constant, values: ast.expr) -> ast.expr:
    marked = ast.BinOp(ast.copy_location(mark, values), ast.MatMult(), values)
    return ast.copy_location(marked, values)


def _counted(values: ast.expr) -> tuple[ast.expr, int | None]:
    """Return what `enumerate` is given, and from where it counts."""
    if not (isinstance(values, ast.Call) and isinstance(values.func, ast.Name) and values.func.id == "enumerate"):
        return values, None
    starts = [*values.args[1:], *(each.value for each in values.keywords if each.arg == "start")]
    if len(starts) != len(values.args) - 1 + len(values.keywords) or len(starts) > 1:
        return values, None
    start = starts[0].value if starts and isinstance(starts[0], ast.Constant) else None if starts else 0
    if type(start) is not int or isinstance(values.args[0], ast.Starred):
        return values, None
    return values.args[0], start


def _loop(target: ast.expr, body: Sequence[ast.stmt], needs: Sequence[str]) -> Loop:
    """Return what is to be known of a loop. Raises `_Unfit`."""
    own = _target_names(target)
    look = _Body(body)
    call = look.call()
    stored, mutated = look.stored, look.mutated
    if own & (stored | mutated):
        raise _Unfit
    needed = _names_in(call)
    before: list[tuple[str, ast.expr]] = []
    for name, value in reversed(look.before(call)):
        if name in needed:
            before.insert(0, (name, value))
            needed |= _names_in(value)
    free, known = set(), set(own)
    for name, value in before:
        free |= _names_in(value) - known
        known.add(name)
    free |= _names_in(call) - known
    if free & (stored | mutated) or {name for name, _ in before} & mutated:
        raise _Unfit  # what one round does, the next one's prompt may say
    builtins = frozenset(look.builtins).union(needs)
    return Loop(target, before, call, frozenset(mutated), frozenset(stored), builtins, None)


class _Body:
    """What the statements of a loop do. Raises `_Unfit` for what these loops may not do."""

    def __init__(self, body: Sequence[ast.stmt]) -> None:
        self._body = body
        self.stored: set[str] = set()
        self.mutated: set[str] = set()
        self.builtins: set[str] = set()
        self._calls: list[ast.Call] = []
        for statement in body:
            self._look_at(statement)

    def call(self) -> ast.Call:
        """Return the one call to a model, which is made in every round."""
        if len(self._calls) != 1:
            raise _Unfit
        [call] = self._calls
        if len(call.args) > 1 or not all(each.arg in _OPTIONS for each in call.keywords):
            raise _Unfit
        for statement in self._body:
            for node in ast.walk(statement):
                perhaps = isinstance(node, (ast.IfExp, ast.BoolOp)) or (
                    isinstance(node, ast.Compare) and len(node.ops) > 1
                )
                if perhaps and any(inner is call for inner in ast.walk(node)):
                    raise _Unfit
        return call

    def before(self, call: ast.Call) -> list[tuple[str, ast.expr]]:
        """Return the names that are assigned before the statement of the call, with what each is assigned."""
        found: list[tuple[str, ast.expr]] = []
        for statement in self._body:
            if any(node is call for node in ast.walk(statement)):
                break
            target: ast.expr | None = statement.target if isinstance(statement, ast.AugAssign) else None
            if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
                target = statement.targets[0]
            if isinstance(target, ast.Name):
                value = statement.value  # type: ignore[attr-defined]
                if isinstance(statement, ast.AugAssign):
                    value = ast.BinOp(ast.Name(target.id, ast.Load()), statement.op, value)
                found.append((target.id, value))
        return found

    def _look_at(self, statement: ast.stmt) -> None:
        if isinstance(statement, ast.Assign):
            for target in statement.targets:
                self._store(target)
        elif isinstance(statement, ast.AugAssign):
            self._store(statement.target)
        elif not isinstance(statement, (ast.Expr, ast.Pass)):
            raise _Unfit
        value = getattr(statement, "value", None)
        if value is not None:
            self._look_into(value)

    def _store(self, target: ast.expr) -> None:
        if isinstance(target, ast.Name):
            self.stored.add(target.id)
        elif isinstance(target, ast.Subscript):
            self.mutated.add(_base_name(target))
            self._look_into(target.slice)
        elif isinstance(target, (ast.Tuple, ast.List)):
            for each in target.elts:
                self._store(each)
        else:
            raise _Unfit

    def _look_into(self, expression: ast.AST) -> None:
        methods = set()
        for node in ast.walk(expression):
            if isinstance(node, ast.Attribute):
                if id(node) not in methods:
                    raise _Unfit
            elif not isinstance(node, _EXPRESSIONS):
                raise _Unfit
            elif isinstance(node, ast.Call):
                self._look_at_function(node)
                methods.add(id(node.func))

    def _look_at_function(self, call: ast.Call) -> None:
        function, named = call.func, {each.arg for each in call.keywords}
        if None in named:
            raise _Unfit
        if isinstance(function, ast.Attribute) and function.attr in _METHODS:
            if function.attr in _MUTATING:
                self.mutated.add(_base_name(function.value))
        elif isinstance(function, ast.Name) and function.id in ASKS:
            self._calls.append(call)
        elif isinstance(function, ast.Name) and function.id in BUILTINS and named <= _NAMED:
            self.builtins.add(function.id)
        else:
            raise _Unfit


def _target_names(target: ast.expr) -> set[str]:
    if isinstance(target, ast.Name):
        return {target.id}
    if isinstance(target, (ast.Tuple, ast.List)):
        return set().union(*map(_target_names, target.elts))
    raise _Unfit


def _base_name(node: ast.expr) -> str:
    while isinstance(node, ast.Subscript):
        node = node.value
    if not isinstance(node, ast.Name):
        raise _Unfit
    return node.id


def _names_in(node: ast.AST) -> set[str]:
    """Return the names that an expression reads, but for those of the functions that it calls."""
    called = {id(child.func) for child in ast.walk(node) if isinstance(child, ast.Call)}
    return {child.id for child in ast.walk(node) if isinstance(child, ast.Name) and id(child) not in called}


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and type(node.value) is str
