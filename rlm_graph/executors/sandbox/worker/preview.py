"""Values as text of bounded length: what a cell's last expression shows, and what the list of variables says."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable, Mapping
from typing import Any

PREVIEW_CHARS = 80
MAX_DEPTH = 40

_WITHIN: dict[type, str] = {list: "[...]", tuple: "(...)"}
"""What stands for a container inside itself."""


def shorten(text: str, limit: int) -> str:
    """Return `text`, or its head and tail around a note of how much was cut."""
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]}\n[... {len(text) - 2 * half:,} characters cut ...]\n{text[-half:]}"


def show(value: Any, limit: int) -> str:
    """Return `repr(value)` cut to about `limit` characters, without first writing out what is longer.

    Runs the `__repr__` of types that are not Python's own; an error in one is told in its place.
    """
    return shorten(_Writer(limit, trusting=True).write(value), limit)


def preview(value: Any, limit: int = PREVIEW_CHARS) -> str:
    """Return what `value` is, in one line of at most `limit` characters, without running any code of its type."""
    text = _Writer(limit, trusting=False).write(value)
    text = text.encode("ascii", "backslashreplace").decode() if not text.isprintable() else text
    return text if len(text) <= limit else text[: limit - 1] + "…"


def size(value: Any) -> int | None:
    """Return the length of a text, a container or an array's first axis, without running any code of its type."""
    for base in (str, bytes, bytearray, list, tuple, dict, set, frozenset, range):
        if issubclass(type(value), base):
            return int(base.__len__(value))
    if _is_array(value):
        return int(value.shape[0]) if value.shape else None
    return None


def kind(value: Any) -> str:
    """Return the name of the type, with its module unless that is Python's or the cells' own."""
    name = _TYPE_NAME(type(value))
    module = _module(value)
    return f"{module}.{name}" if module not in ("builtins", "__main__") else name


def variables(namespace: Mapping[str, Any], ours: Mapping[str, Any]) -> list[dict[str, Any]]:
    """List what cells have bound: no modules, no private names, none of `ours` unless it was bound anew."""
    return [
        {"name": name, "type": kind(value), "size": size(value), "preview": preview(value)}
        for name, value in list(namespace.items())
        if not name.startswith("_")
        and type(value) is not types.ModuleType
        and not (name in ours and ours[name] is value)
    ]


# A metaclass may have put code in the place of the attribute itself.
_TYPE_NAME: Callable[[type], str] = vars(type)["__qualname__"].__get__


class _Writer:
    """Writes one value; stops adding items when `limit` is passed, so that the work is bounded too."""

    def __init__(self, limit: int, *, trusting: bool) -> None:
        self._limit = limit
        self._trusting = trusting
        self._written = 0
        self._open: set[int] = set()

    def write(self, value: Any) -> str:
        text = self._text(value)
        self._written += len(text)
        return text

    def _text(self, value: Any) -> str:
        exact = type(value)
        if exact in (str, bytes, bytearray):
            return self._long(value)
        if exact is int and value.bit_length() > 10_000:
            return f"<int of {value.bit_length():,} bits>"
        if exact in (list, tuple, dict, set, frozenset):
            return self._container(value)
        if exact in (int, float, complex, bool, type(None), range, type(Ellipsis)):
            return repr(value)
        return self._other(value)

    def _long(self, value: Any) -> str:
        if len(value) <= self._limit:
            return repr(value)
        half = self._limit // 2
        return f"{value[:half]!r} [... {len(value) - 2 * half:,} more ...] {value[-half:]!r}"

    def _container(self, value: Any) -> str:
        if id(value) in self._open or len(self._open) >= MAX_DEPTH:
            return _WITHIN.get(type(value), "{...}")
        if not value:
            return repr(value)
        self._open.add(id(value))
        try:
            items = self._items(value)
        finally:
            self._open.discard(id(value))
        if type(value) is tuple:
            return f"({items},)" if len(value) == 1 else f"({items})"
        if type(value) is frozenset:
            return f"frozenset({{{items}}})"
        return f"[{items}]" if type(value) is list else f"{{{items}}}"

    def _items(self, value: Any) -> str:
        written: list[str] = []
        for done, item in enumerate(_iterate(value)):
            if self._written > self._limit:
                written.append(f"[... {len(value) - done:,} more ...]")
                break
            written.append(f"{self.write(item[0])}: {self.write(item[1])}" if type(value) is dict else self.write(item))
        return ", ".join(written)

    def _other(self, value: Any) -> str:
        if self._trusting:
            try:
                return repr(value)
            except Exception as error:
                return f"<{kind(value)} whose repr raises {type(error).__name__}>"
        if type(value) in (types.FunctionType, types.BuiltinFunctionType):
            return f"function {value.__name__}"
        if issubclass(type(value), type):
            return f"class {_TYPE_NAME(value)}"
        if _is_array(value):
            return f"<{kind(value)} of shape {tuple(value.shape)}>"
        return self._instance(value)

    def _instance(self, value: Any) -> str:
        try:
            attributes = object.__getattribute__(value, "__dict__")
        except AttributeError:
            attributes = None
        if type(attributes) is not dict or not attributes:
            return f"<{kind(value)}>"
        return f"<{kind(value)} {self._container(attributes)}>"


def _module(value: Any) -> str:
    attributes: Mapping[str, Any] = type(value).__dict__
    return str(attributes.get("__module__", "builtins"))


def _iterate(value: Any) -> Iterable[Any]:
    # A copy of the references: another thread may change the container meanwhile.
    return list(value.items()) if type(value) is dict else iter(list(value))


def _is_array(value: Any) -> bool:
    """Whether it is of a library whose `shape` is plain data."""
    library = _module(value).partition(".")[0]
    return library in ("numpy", "pandas", "polars", "scipy", "torch") and hasattr(value, "shape")
