"""Snapshots of a namespace, from which a REPL comes back without running its cells again.

A snapshot must bring back what running the cells again would. So there is one only where that is certain: every cell
changed nothing but variables (`outside_effect` finds none), and every value is of a type that a copy replaces exactly.
In all other cases there is none, and replay remains.
"""

from __future__ import annotations

import io
import linecache
import marshal
import pickle
import re
import sys
import types
from collections.abc import Iterable
from typing import Any

from rlm_graph.executors.sandbox.worker.cells import Cells, file_name, source_lines
from rlm_graph.executors.sandbox.worker.context import Context, Match, Piece, Pieces
from rlm_graph.executors.sandbox.worker.effects import MODULES, outside_effect
from rlm_graph.executors.sandbox.worker.namespace import Namespace
from rlm_graph.executors.sandbox.worker.texts import StoredText

OWN_THREADS = 2
"""Threads of a worker that belong to no cell, at most."""
_BATCH = 1000
"""Items of a set that `pickle` adds at once."""

_TYPES = frozenset({
    "array.array", "builtins.complex", "builtins.range", "builtins.slice", "collections.Counter",
    "collections.OrderedDict", "collections.defaultdict", "collections.deque", "datetime.date", "datetime.datetime",
    "datetime.time", "datetime.timedelta", "datetime.timezone", "fractions.Fraction", "random.Random", "re.Pattern",
    *(f"{cls.__module__}.{cls.__qualname__}" for cls in (Context, Match, Piece, Pieces, StoredText)),
})  # fmt: skip
"""Besides those that `pickle` knows without looking."""
_HASHES_LAST = (str, bytes, int, float, bool)


class Unsupported(Exception):
    """There can be no snapshot, for the reason given."""


class Snapshots:
    """Makes a namespace's snapshots and brings it back from one."""

    def __init__(self, namespace: Namespace, cells: Cells) -> None:
        self._namespace = namespace
        self._cells = cells
        self._sources: dict[int, str] = {}
        self._obstacle: str | None = None

    def note(self, number: int, code: str, language: str) -> None:
        """Look at a cell that is about to run."""
        self._sources[number] = code
        if self._obstacle is None and (effect := outside_effect(code, language)):
            self._obstacle = f"cell {number} {effect}"

    def take(self, max_bytes: int) -> bytes:
        """Return a snapshot. Raises `Unsupported` if there can be none, or only a larger one."""
        if self._obstacle is not None:
            raise Unsupported(self._obstacle)
        if self._cells.has_awaited:
            raise Unsupported("a cell awaited, and may have left tasks")
        if len(sys._current_frames()) > OWN_THREADS:
            raise Unsupported("threads are at work")
        if not self._namespace.contexts_are_whole():
            raise Unsupported("code changed a context")
        content = {
            "names": dict(self._namespace.names),
            "answer": dict(self._namespace.answer),
            "flags": self._cells.flags,
            "sources": self._sources,
        }
        reached = self._namespace.reached
        out = _Bounded(max_bytes)
        try:
            pickle.dump([_stamp(self._namespace), reached], out, protocol=4)
            _Pickler(out, self._namespace).dump(content)
        except Unsupported:
            raise
        except Exception as error:  # values are the code's: they fail in any way
            raise Unsupported(f"{type(error).__name__}: {error}") from error
        return out.getvalue()

    def restore(self, snapshot: bytes) -> None:
        """Make the namespace, which must be fresh, what it was. Raises `Unsupported`, and then changes nothing."""
        data = io.BytesIO(snapshot)
        try:
            stamp, reached = pickle.load(data)  # noqa: S301  # made and read in a sandbox
            if stamp != _stamp(self._namespace):
                raise Unsupported("it was made by another Python, or with other contexts")
            if reached:
                self._namespace.reach()
            content = _Unpickler(data, self._namespace).load()
        except Unsupported:
            raise
        except Exception as error:
            raise Unsupported(f"{type(error).__name__}: {error}") from error
        self._namespace.answer.clear()
        self._namespace.answer.update(content["answer"])
        self._namespace.names.clear()
        self._namespace.names.update(content["names"])
        self._cells.flags = content["flags"]
        self._sources = content["sources"]
        for number, code in self._sources.items():
            linecache.cache[file_name(number)] = (len(code), None, source_lines(code), file_name(number))


def _stamp(namespace: Namespace) -> list[Any]:
    return [sys.version, sys.platform, len(namespace.stored)]


class _Bounded(io.BytesIO):
    def __init__(self, max_bytes: int) -> None:
        super().__init__()
        self._max_bytes = max_bytes

    def write(self, data: Any) -> int:
        if self.tell() + memoryview(data).nbytes > self._max_bytes:
            raise Unsupported(f"it would take more than {self._max_bytes:,} bytes")
        return super().write(data)


class _Pickler(pickle.Pickler):
    """Writes what is ours, and contexts, as references; refuses what a copy would not replace exactly."""

    def __init__(self, out: io.BytesIO, namespace: Namespace) -> None:
        super().__init__(out, protocol=4)
        self._names = namespace.names
        self._known = {id(value): reference for reference, value in _references(namespace)}

    def persistent_id(self, obj: Any) -> Any:
        if (reference := self._known.get(id(obj))) is not None:
            return reference
        kind = type(obj)
        if kind is set or kind is frozenset:
            _check_order(obj)
        elif kind is float and obj != obj:
            raise Unsupported("a NaN, which is only equal to itself while it is one object")
        return None

    def reducer_override(self, obj: Any) -> Any:
        kind = type(obj)
        if kind is types.FunctionType and obj.__globals__ is self._names:
            return self._of_function(obj)
        if isinstance(obj, types.ModuleType):
            if sys.modules.get(obj.__name__) is obj and obj.__name__.partition(".")[0] in MODULES:
                return _module, (obj.__name__,)
        elif kind is types.BuiltinFunctionType:
            if isinstance(obj.__self__, types.ModuleType):
                return NotImplemented
        elif kind is types.FunctionType or isinstance(obj, type):
            if obj.__module__ != "__main__":
                return NotImplemented
        elif kind is types.CellType:
            return _cell, (), _contents(obj), None, None, _fill
        elif kind is re.Match:
            return _of_match(obj)
        elif _name(kind) in _TYPES:
            return NotImplemented
        elif _name(kind) == "concurrent.futures.thread.ThreadPoolExecutor" and obj._shutdown:
            return _closed_pool, (obj._max_workers,)
        raise Unsupported(f"a value of type {_name(kind)}")

    def _of_function(self, function: types.FunctionType) -> Any:
        if getattr(function, "__type_params__", ()):
            raise Unsupported("a generic function")
        made = (marshal.dumps(function.__code__), self._names, function.__name__, function.__closure__)
        attributes = {name: getattr(function, name) for name in _OF_FUNCTIONS}
        return _function, made, (attributes, function.__dict__), None, None, _complete


class _Unpickler(pickle.Unpickler):
    def __init__(self, data: io.BytesIO, namespace: Namespace) -> None:
        super().__init__(data)
        self._values = dict(_references(namespace))

    def persistent_load(self, reference: Any) -> Any:
        return self._values[reference]


_OF_FUNCTIONS = ("__defaults__", "__kwdefaults__", "__annotations__", "__doc__", "__module__", "__qualname__")


def _references(namespace: Namespace) -> Iterable[tuple[tuple[Any, ...], Any]]:
    for number, stored in namespace.stored.items():
        for index, held in enumerate(stored.texts):
            yield ("stored", number, index), held
    for number, context in namespace.contexts.items():
        if not isinstance(context, str):
            for key, text in context.items() if isinstance(context, dict) else enumerate(context):
                yield ("text", number, key), text
        yield ("context", number), context
    for name, value in namespace.ours.items():
        if value is not None and name not in ("context", "P"):
            yield ("ours", name), value
    yield ("names",), namespace.names


def _check_order(items: Any) -> None:
    """Refuse a set that would come back in another order: code may go by it."""
    listed = list(items)
    if not all(map(_hashes_alike, listed)):
        raise Unsupported("a set whose order is by chance")
    again: Any = frozenset(listed) if isinstance(items, frozenset) else set()
    if isinstance(items, set):
        for start in range(0, len(listed), _BATCH):
            again.update(listed[start : start + _BATCH])
    if list(again) != listed:
        raise Unsupported("a set whose order comes from how it was built")


def _hashes_alike(item: Any) -> bool:
    """Whether an item has the same hash in every process."""
    return type(item) in _HASHES_LAST or (type(item) in (tuple, frozenset) and all(map(_hashes_alike, item)))


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _module(name: str) -> types.ModuleType:
    import importlib

    return importlib.import_module(name)


def _function(code: bytes, names: dict[str, Any], name: str, closure: Any) -> types.FunctionType:
    return types.FunctionType(marshal.loads(code), names, name, None, closure)  # noqa: S302  # in a sandbox


def _complete(function: types.FunctionType, state: tuple[dict[str, Any], dict[str, Any]]) -> None:
    attributes, own = state
    for name, value in attributes.items():
        setattr(function, name, value)
    function.__dict__.update(own)


def _cell() -> types.CellType:
    return types.CellType()


def _contents(cell: types.CellType) -> tuple[Any, ...]:
    try:
        return (cell.cell_contents,)
    except ValueError:  # nothing is in it yet
        return ()


def _fill(cell: types.CellType, contents: tuple[Any, ...]) -> None:
    if contents:
        cell.cell_contents = contents[0]


def _of_match(match: re.Match[Any]) -> Any:
    again = match.re.search(match.string, match.pos, match.endpos)
    if again is None or (again.regs, again.lastindex) != (match.regs, match.lastindex):
        raise Unsupported("a match that is not the first of its search")
    return _match, (match.re, match.string, match.pos, match.endpos)


def _match(pattern: re.Pattern[Any], text: Any, start: int, stop: int) -> Any:
    return pattern.search(text, start, stop)


def _closed_pool(workers: int) -> Any:
    from concurrent.futures import ThreadPoolExecutor

    pool = ThreadPoolExecutor(workers)
    pool.shutdown()
    return pool
