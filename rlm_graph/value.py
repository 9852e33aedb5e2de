"""The bases of all values: frozen, and strict about what they are given."""

from __future__ import annotations

from typing import Any

from pydantic import (
    ConfigDict,
    SerializationInfo,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from rlm_graph import notebook
from rlm_graph.described import Described
from rlm_graph.surrogates import has_surrogates

INTEGERS = range(-(1 << 63), 1 << 64)
"""Those that LangGraph's serializer has a form for."""

ESCAPED = "__escaped__"
"""Marks the dump of a record whose texts stand in another form."""


class Value(Described):
    """An immutable record. An unknown field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def _repr_html_(self) -> str:
        return notebook.table((name, getattr(self, name)) for name in type(self).model_fields)


class CheckpointValue(Value):
    """A value that checkpoints hold, with texts that a model or its code has written.

    Such a text may hold lone surrogates, for which UTF-8 has no form: LangGraph's serializer puts a question mark in
    their place. An integer may have more than 64 bits, which it refuses. So the dump holds both as bytes, and the mark
    that tells it from another.
    """

    @model_serializer(mode="wrap")
    def _in_storable_form(self, handler: SerializerFunctionWrapHandler, info: SerializationInfo) -> dict[str, Any]:
        dumped: dict[str, Any] = handler(self)
        if info.mode != "python" or not _any_unstorable(dumped):
            return dumped
        return {**_escaped(dumped), ESCAPED: True}

    @model_validator(mode="before")
    @classmethod
    def _from_storable_form(cls, given: Any) -> Any:
        if isinstance(given, dict) and given.get(ESCAPED) is True:
            return {key: _restored(value) for key, value in given.items() if key != ESCAPED}
        return given


def _any_unstorable(value: Any) -> bool:
    if isinstance(value, str):
        return has_surrogates(value)
    if isinstance(value, int):
        return value not in INTEGERS
    if isinstance(value, dict):
        return any(_any_unstorable(part) for pair in value.items() for part in pair)
    return isinstance(value, list | tuple) and any(map(_any_unstorable, value))


def _escaped(value: Any) -> Any:
    """Write what cannot be stored in forms of their own.

    They are `{"text": bytes}` for texts with surrogates, `{"integer": bytes}` for integers of more than 64 bits, and
    `{"items": [key, value, …], "kind": b"flat"}` for dicts with such keys: flat, for the serializer ends at 250 levels
    and code may hand over 100. Earlier versions wrote the items in pairs, as `b"dict"`. What JSON can say holds no
    bytes, so none can be mistaken for a value.
    """
    if isinstance(value, str):
        return {"text": value.encode("utf-8", "surrogatepass")} if _any_unstorable(value) else value
    if isinstance(value, int) and value not in INTEGERS:
        return {"integer": value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True)}
    if isinstance(value, dict):
        if any(map(_any_unstorable, value)):
            return {"items": [_escaped(each) for pair in value.items() for each in pair], "kind": b"flat"}
        return {key: _escaped(part) for key, part in value.items()}
    return [_escaped(part) for part in value] if isinstance(value, list | tuple) else value


def _restored(value: Any) -> Any:
    if isinstance(value, dict):
        if value.keys() == {"text"} and isinstance(value["text"], bytes):
            return value["text"].decode("utf-8", "surrogatepass")
        if value.keys() == {"integer"} and isinstance(value["integer"], bytes):
            return int.from_bytes(value["integer"], "big", signed=True)
        if value.keys() == {"items", "kind"} and value["kind"] in (b"flat", b"dict"):
            items = value["items"]
            pairs = zip(items[::2], items[1::2], strict=True) if value["kind"] == b"flat" else items
            return {_restored(key): _restored(part) for key, part in pairs}
        return {key: _restored(part) for key, part in value.items()}
    return [_restored(part) for part in value] if isinstance(value, list | tuple) else value
