"""A typed answer in the state: recorded as JSON, read as the object that its form makes of it.

Serializers of checkpoints hold some objects of pydantic's and not others (an `HttpUrl`, a `RootModel`), and give an
object back only where its class can be imported. JSON they all hold.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Self, Union

from langgraph.channels.last_value import LastValue
from pydantic import JsonValue, TypeAdapter, ValidationError

from rlm_graph.value import CheckpointValue


class TypedAnswer(CheckpointValue):
    """What the answer's form is made of, as JSON."""

    value: JsonValue


def as_typed(adapter: TypeAdapter[Any], value: JsonValue) -> Any:
    """Return the object of the adapter's type. Raises `ValidationError` if the value does not fit it.

    Read as JSON: a strict type takes a text for an enum or a date from nothing else.
    """
    try:
        return adapter.validate_json(json.dumps(value))
    except ValidationError as error:
        objection = error
    except ValueError:  # Python writes no integer of more digits than it reads
        return adapter.validate_python(value)
    try:
        return adapter.validate_python(value)
    except ValidationError:
        raise objection from None


class TypedAnswerChannel(LastValue[Any]):
    """Holds the typed answer to the last question, and is empty if that has none.

    What is written is a `TypedAnswer`, or None for none; version 0.1.0 wrote the object itself, as whoever edits the
    state may.
    """

    __slots__ = ("_adapter", "_object")

    def __init__(self, typ: Any, key: str = "", adapter: TypeAdapter[Any] | None = None) -> None:
        super().__init__(typ, key)
        self._adapter = adapter
        self._object: Any = _NOTHING

    @property
    def UpdateType(self) -> Any:
        """The type of what is written, which a strict serializer allows."""
        return Union[TypedAnswer, self.typ]  # noqa: UP007  # a form need not be a class

    def copy(self) -> Self:
        """Return a copy of the channel."""
        copied = self.__class__(self.typ, self.key, self._adapter)
        copied.value, copied._object = self.value, self._object
        return copied

    def update(self, values: Sequence[Any]) -> bool:
        """Take the last value; None empties the channel."""
        if not values:
            return False
        self.value = self.__class__(self.typ, self.key).value if values[-1] is None else values[-1]
        self._object = _NOTHING
        return True

    def get(self) -> Any:
        """Return the object."""
        value = super().get()
        if self._object is _NOTHING:
            self._object = self.opened(value)
        return self._object

    def opened(self, value: Any) -> Any:
        """Return the object for what was written.

        The JSON itself where the type has changed since and does not take it any more: the run can still be read.
        """
        if not isinstance(value, TypedAnswer):
            return value
        if self._adapter is None:
            return value.value
        try:
            return as_typed(self._adapter, value.value)
        except Exception:  # it took the value once; what the validators of another version raise is not known
            return value.value

    def checkpoint(self) -> Any:
        """Return the value in a list of its own: see `BoxedText`."""
        value = super().checkpoint()
        return [value] if self.is_available() else value

    def from_checkpoint(self, checkpoint: Any) -> Self:
        """Read what `checkpoint` has returned."""
        read = super().from_checkpoint(checkpoint[0] if isinstance(checkpoint, list) else checkpoint)
        read._adapter = self._adapter
        return read


_NOTHING = object()
