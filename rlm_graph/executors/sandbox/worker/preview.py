"""Values as text of bounded length: what a cell's last expression shows, and what the list of variables says."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any, TypeVar

T = TypeVar("T")

PREVIEW_CHARS = 80
MAX_NAME_CHARS = 200
"""Of the name of a variable or a type."""
MAX_VARIABLES = 1_000
"""That are listed to the host, the newest."""
MAX_DEPTH = 40
_PIECES = ("rlm_graph.executors.sandbox.worker.context", "Piece", "SharedPiece")
"""Shown as the `str` that it is: where it lies matters to calls alone."""

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
    for base in (str, bytes, bytearray, list, tuple, dict, set, frozenset):
        if issubclass(type(value), base):
            return int(base.__len__(value))
    if type(value) is range:
        # Its length may be too large for `len`.
        length = max(0, -((value.start - value.stop) // value.step))
        return length if length < _TOO_LONG else None
    shape = _shape(value)
    return shape[0] if shape else None


def kind(value: Any) -> str:
    """Return the name of the type, with its module unless that is Python's or the cells' own."""
    return type_name(type(value))


def type_name(cls: type) -> str:
    """Return the name of a type as `kind` does, in one line, without running any code of its own or its metaclass."""
    name, module = plain(_QUALIFIED_NAME(cls)), _module(cls)
    if module == _PIECES[0] and name in _PIECES:
        return "str"
    return _one_line(f"{module}.{name}" if module not in ("", "builtins", "__main__") else name)


def bare_name(cls: type) -> str:
    """Return the name of a type alone, as `type_name` does."""
    return _one_line(plain(_NAME(cls)))


def plain(text: str) -> str:
    """Return a text as exactly `str`: a subclass may do anything when it is measured, cut or compared."""
    return str.__str__(text)


def variables(
    namespace: Mapping[str, Any], ours: Mapping[str, Any], limit: int = MAX_VARIABLES
) -> list[dict[str, Any]]:
    """List what cells have bound, the newest `limit`: no modules, no private names, none of `ours` unless bound anew.

    Keys that are no names are passed over. What cannot be told of a value is told to be so: its code may do anything.
    """
    found = (
        (name, value)
        for name, value in ((plain(key), value) for key, value in _newest(namespace) if issubclass(type(key), str))
        if not name.startswith("_")
        and type(value) is not types.ModuleType
        and not (name in ours and ours[name] is value)
    )
    return [
        {
            "name": _one_line(name),
            "type": _tried(kind, value, "object"),
            "size": _tried(size, value, None),
            "preview": _tried(preview, value, "<it cannot be shown>"),
        }
        for name, value in reversed(list(islice(found, limit)))
    ]


def _newest(namespace: Mapping[str, Any]) -> Iterable[tuple[Any, Any]]:
    # A copy of the references: another thread may bind names meanwhile.
    return list(namespace.items())[::-1]


def _tried(tell: Callable[[Any], T], value: Any, otherwise: T) -> T:
    try:
        return tell(value)
    except BaseException:  # also one that means to end the process: it comes from the value's own code
        return otherwise


def _one_line(name: str) -> str:
    """Return a name within bounds, its control characters and line ends written out."""
    name = name if len(name) <= MAX_NAME_CHARS else name[: MAX_NAME_CHARS - 1] + "…"
    shown = "".join(each if each.isprintable() else repr(each)[1:-1] for each in name)
    return shown if len(shown) <= MAX_NAME_CHARS else shown[: MAX_NAME_CHARS - 1] + "…"


# A metaclass may have put code in the place of the attributes themselves.
_NAME: Callable[[type], str] = vars(type)["__name__"].__get__
_QUALIFIED_NAME: Callable[[type], str] = vars(type)["__qualname__"].__get__
_MODULE: Callable[[type], Any] = vars(type)["__module__"].__get__
_MRO: Callable[[type], tuple[type, ...]] = vars(type)["__mro__"].__get__
_NAMES_OF: Callable[[type], Mapping[str, Any]] = vars(type)["__dict__"].__get__
_TOO_LONG = 1 << 63


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
        if exact is range and max(map(abs, (value.start, value.stop, value.step))) >= _TOO_LONG:
            return f"range({', '.join(map(self._text, (value.start, value.stop, value.step)))})"
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
        # Each takes a character at least.
        for done, item in enumerate(_iterate(value, self._limit + 2)):
            if self._written > self._limit:
                written.append(f"[... {len(value) - done:,} more ...]")
                break
            written.append(f"{self.write(item[0])}: {self.write(item[1])}" if type(value) is dict else self.write(item))
        return ", ".join(written)

    def _other(self, value: Any) -> str:
        if self._trusting:
            try:
                return plain(repr(value))
            except Exception as error:
                return f"<{kind(value)} whose repr raises {bare_name(type(error))}>"
        if type(value) in (types.FunctionType, types.BuiltinFunctionType):
            return f"function {_one_line(plain(value.__name__))}"
        if issubclass(type(value), type):
            return f"class {_one_line(plain(_QUALIFIED_NAME(value)))}"
        shape = _shape(value)
        if shape is not None:
            return f"<{kind(value)} of shape {shape}>"
        return self._instance(value)

    def _instance(self, value: Any) -> str:
        attributes = None if _overridden(type(value), "__dict__") else _attributes(value)
        if type(attributes) is not dict or not attributes:
            return f"<{kind(value)}>"
        return f"<{kind(value)} {self._container(attributes)}>"


def _attributes(value: Any) -> Any:
    try:
        return object.__getattribute__(value, "__dict__")
    except AttributeError:
        return None


def _overridden(cls: type, name: str) -> bool:
    """Whether the attribute of that name is code of the class."""
    found = next((names[name] for names in map(_NAMES_OF, _MRO(cls)) if name in names), None)
    return found is not None and type(found) is not types.GetSetDescriptorType


def _module(cls: type) -> str:
    """Return the module that the class says; nothing if what stands there is no text."""
    try:
        module = _MODULE(cls)
    except AttributeError:  # code has deleted it
        return ""
    return plain(module) if issubclass(type(module), str) else ""


def _iterate(value: Any, most: int) -> list[Any]:
    # A copy of the references: another thread may change the container meanwhile.
    return list(islice(value.items() if type(value) is dict else value, most))


def _shape(value: Any) -> tuple[int, ...] | None:
    """Return the shape of an array or a table, None for all else: of libraries whose `shape` is plain data."""
    library = _module(type(value)).partition(".")[0]
    if library not in ("numpy", "pandas", "polars", "scipy", "torch"):
        return None
    try:
        shape = tuple(value.shape)
    except (AttributeError, TypeError):
        return None
    fits = len(shape) <= 64 and all(type(length) is int and 0 <= length < _TOO_LONG for length in shape)
    return shape if fits else None
