"""Python values → what JSON can hold, for answers that leave the sandbox."""

from __future__ import annotations

import enum
import math
import types
from collections.abc import Mapping
from typing import Any

from rlm_graph.executors.sandbox.frames import MAX_DEPTH, fits_checkpoint
from rlm_graph.executors.sandbox.worker.preview import show

REPR_CHARS = 1_000_000


class TooManyValues(ValueError):
    """What was to be converted holds more values than it may."""


def as_json(value: Any, *, max_items: int | None = None) -> tuple[Any, bool]:
    """Return `value` as JSON holds it, and whether that is exact.

    Tuples, ranges and the like become lists, sets sorted lists, keys text, dates ISO 8601, dataclasses and numpy's
    and pandas' values what they hold. NaN and the infinities, which JSON lacks, become `"NaN"`, `"Infinity"` and
    `"-Infinity"`. Not exact are values of other types, which become their `repr`; integers of more than 64 bits,
    which become text; a value that holds itself or nests deeper than 100; and keys that are equal as text.

    Raises `TooManyValues` as soon as it has come upon more than `max_items` values.
    """
    conversion = _Conversion(max_items)
    return conversion.convert(value, 0), conversion.exact


class _Conversion:
    def __init__(self, max_items: int | None) -> None:
        self.exact = True
        self._left = max_items
        self._open: set[int] = set()

    def convert(self, value: Any, depth: int) -> Any:
        if self._left is not None:
            self._left -= 1
            if self._left < 0:
                raise TooManyValues("it holds too many values")
        if value is None or value is True or value is False:
            return value
        if isinstance(value, enum.Enum):
            return self.convert(value.value, depth)
        if isinstance(value, str):
            return str.__str__(value)
        if isinstance(value, int):
            return self._integer(int(value))
        if isinstance(value, float):
            return _number(float(value))
        if id(value) in self._open or depth >= MAX_DEPTH:
            return self._shown(value)
        self._open.add(id(value))
        try:
            return self._converted(value, depth + 1)
        finally:
            self._open.discard(id(value))

    def _converted(self, value: Any, depth: int) -> Any:
        if isinstance(value, Mapping):
            return self._object(value, depth)
        if isinstance(value, (set, frozenset)):
            return [self.convert(item, depth) for item in _sorted(value)]
        if isinstance(value, (list, tuple, range, _VIEWS)):
            return [self.convert(item, depth) for item in value]
        if "__dataclass_fields__" in dir(type(value)) and not isinstance(value, type):
            return {name: self.convert(getattr(value, name), depth) for name in type(value).__dataclass_fields__}
        # By name: none of their modules has to be there before a cell imports it.
        names = {(base.__module__, base.__name__) for base in type(value).__mro__}
        if names & _WITH_ISO_FORMAT:
            return value.isoformat()
        if names & _WITH_TEXT:
            return str(value)
        return self._of_a_library(value, depth)

    def _of_a_library(self, value: Any, depth: int) -> Any:
        library = type(value).__module__.partition(".")[0]
        name = type(value).__name__
        if library == "numpy" and hasattr(value, "tolist"):
            return self.convert(value.tolist(), depth)
        if library == "pandas" and name == "DataFrame":
            return self.convert(value.to_dict(orient="records"), depth)
        if library == "pandas" and hasattr(value, "tolist"):
            return self.convert(value.tolist(), depth)
        if callable(getattr(type(value), "model_dump", None)):  # pydantic
            return self.convert(value.model_dump(), depth)
        return self._shown(value)

    def _object(self, value: Mapping[Any, Any], depth: int) -> dict[str, Any]:
        converted = {_key(key): self.convert(item, depth) for key, item in value.items()}
        if len(converted) < len(value):
            self.exact = False
        return converted

    def _integer(self, value: int) -> Any:
        if fits_checkpoint(value):
            return value
        self.exact = False
        try:
            return str(value)
        except ValueError:  # Python refuses to write very long integers in decimal
            return hex(value)

    def _shown(self, value: Any) -> str:
        self.exact = False
        return show(value, REPR_CHARS)


_WITH_ISO_FORMAT = {("datetime", "date"), ("datetime", "time")}
_WITH_TEXT = {
    ("decimal", "Decimal"), ("fractions", "Fraction"), ("uuid", "UUID"),
    ("pathlib", "PurePath"), ("pathlib._local", "PurePath"),
}  # fmt: skip
_VIEWS: Any = (type({}.keys()), type({}.values()), type({}.items()), types.GeneratorType)


def _number(value: float) -> Any:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return value


def _key(key: Any) -> str:
    if isinstance(key, enum.Enum):
        key = key.value
    return str.__str__(key) if isinstance(key, str) else str(key)


def _sorted(values: Any) -> list[Any]:
    try:
        return sorted(values)
    except TypeError:
        return sorted(values, key=repr)
