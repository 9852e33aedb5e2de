"""What a cell may do to more than its variables, as its source tells: after such a cell there is no snapshot."""

from __future__ import annotations

import ast

# What these modules keep to themselves is no more than caches, and the seeded `random`.
MODULES = frozenset({
    "__future__", "ast", "base64", "binascii", "bisect", "builtins", "cmath", "collections", "concurrent", "copy",
    "datetime", "difflib", "fnmatch", "fractions", "functools", "hashlib", "heapq", "hmac", "html", "itertools", "json",
    "keyword", "math", "numbers", "operator", "pprint", "random", "re", "secrets", "statistics", "string", "struct",
    "textwrap", "time", "typing", "unicodedata", "zlib",
})  # fmt: skip
_ROADS_OUT = frozenset({
    "__builtins__", "__import__", "breakpoint", "compile", "delattr", "eval", "exec", "globals", "locals", "open",
    "setattr", "vars",
})  # fmt: skip
_MODULES_OF_MODULES = frozenset({"builtins", "codecs", "io", "os", "sys", "threading", "warnings"})
_DUNDERS = frozenset({"__doc__", "__len__", "__name__"})


def outside_effect(code: str, language: str) -> str | None:
    """Tell what code may do to more than its variables; None if it does nothing of the kind."""
    if language != "python":
        return "is no Python"
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError):  # it did not run
        return None
    return next((effect for node in ast.walk(tree) if (effect := _effect(node)) is not None), None)


def _effect(node: ast.AST) -> str | None:
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or "."]
        unknown = [module for module in modules if module.partition(".")[0] not in MODULES]
        return f"imports {unknown[0]}" if unknown else None
    if isinstance(node, ast.ClassDef):
        return f"defines the class {node.name}"
    if isinstance(node, ast.Name) and node.id in _ROADS_OUT:
        return f"uses {node.id}"
    if isinstance(node, ast.Attribute):
        if not isinstance(node.ctx, ast.Load):
            return f"sets the attribute {node.attr}"
        if node.attr in _MODULES_OF_MODULES or (node.attr.startswith("_") and node.attr not in _DUNDERS):
            return f"uses the attribute {node.attr}"
    if isinstance(node, ast.Subscript) and not isinstance(node.ctx, ast.Load) and isinstance(node.value, ast.Attribute):
        return f"sets items of the attribute {node.value.attr}"
    return None
